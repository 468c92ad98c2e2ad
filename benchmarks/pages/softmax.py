"""softmax in the benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any


def torch_plain() -> Callable[..., Any]:
    from torch.nn import functional as F

    return partial(F.softmax, dim=-1)


def jax() -> Callable[..., Any]:
    from jax import nn

    return nn.softmax
