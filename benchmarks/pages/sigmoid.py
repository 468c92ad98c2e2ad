"""sigmoid in the benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def torch_plain() -> Callable[..., Any]:
    import torch

    return torch.sigmoid


def jax() -> Callable[..., Any]:
    from jax import nn

    return nn.sigmoid
