"""layer_norm in the benchmarks: with weight and bias, at the widths of a transformer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twingrad.benchmarks.pages import Variant
from twingrad.core.shapes import Lengths

LENGTHS: dict[str, Lengths] = {
    "small": {"...": (64,), "features": (256,)},
    "medium": {"...": (1366,), "features": (768,)},
    "large": {"...": (8192,), "features": (1024,)},
}
VARIANTS = (Variant(optional=("weight", "bias")),)


def torch_plain() -> Callable[..., Any]:
    from torch.nn import functional as F

    return lambda x, weight, bias: F.layer_norm(x, weight.shape, weight, bias)


def jax() -> Callable[..., Any]:
    from jax import lax

    def layer_norm(x: Any, weight: Any, bias: Any, eps: float = 1e-5) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        variance = (centred * centred).mean(-1, keepdims=True)
        return centred * lax.rsqrt(variance + eps) * weight + bias

    return layer_norm
