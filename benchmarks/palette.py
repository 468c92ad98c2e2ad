"""One colour for each backend, the same in every picture."""

from __future__ import annotations

GREY = "#5a5a5a"
COLOURS = {
    "numpy": "#2b6ca3",
    "torch": "#d0662b",
    "torch-plain": "#3a3a3a",
    "torch-fused": "#8c6d8f",
    "torch-compile": "#b03a58",
    "jax": "#3f8f6b",
    "autograd": "#b59a2e",
    "mygrad": "#6f8fc9",
    "tinygrad": "#8a8a8a",
}
