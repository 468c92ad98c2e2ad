"""relu in the benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def torch_plain() -> Callable[..., Any]:
    from torch.nn import functional as F

    return F.relu


def jax() -> Callable[..., Any]:
    from jax import nn

    return nn.relu
