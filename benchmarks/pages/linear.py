"""linear in the benchmarks: with its bias, at the widths of a transformer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from twingrad.benchmarks.pages import Variant
from twingrad.core.shapes import Lengths
from twingrad.core.spec import Settings

LENGTHS: dict[str, Lengths] = {
    "small": {"...": (64,), "in": (64,), "out": (64,)},
    "medium": {"...": (512,), "in": (768,), "out": (768,)},
    "large": {"...": (2048,), "in": (768,), "out": (3072,)},
}
VARIANTS = (Variant(optional=("bias",)),)


def flops(lengths: Lengths, settings: Settings) -> float:
    """Return what the product of x and the weight needs."""
    return 2.0 * math.prod(lengths["..."]) * lengths["in"][0] * lengths["out"][0]


def torch_plain() -> Callable[..., Any]:
    from torch.nn import functional as F

    return F.linear


def jax() -> Callable[..., Any]:
    return lambda x, weight, bias: x @ weight.T + bias
