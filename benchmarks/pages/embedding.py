"""embedding in the benchmarks: texts of tokens, in the vocabularies of the other suites."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twingrad.core.shapes import Lengths

LENGTHS: dict[str, Lengths] = {
    "small": {"...": (16, 32), "n": (1000,), "d": (128,)},
    "medium": {"...": (32, 128), "n": (8000,), "d": (256,)},
    "large": {"...": (32, 512), "n": (30522,), "d": (768,)},
}


def torch_plain() -> Callable[..., Any]:
    from torch.nn import functional as F

    return F.embedding


def jax() -> Callable[..., Any]:
    return lambda ids, weight: weight[ids]
