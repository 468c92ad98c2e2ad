"""bce_with_logits in the benchmarks: without weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def torch_plain() -> Callable[..., Any]:
    from torch.nn import functional as F

    return lambda x, target, weight, pos_weight: F.binary_cross_entropy_with_logits(
        x, target, weight, pos_weight=pos_weight
    )


def jax() -> Callable[..., Any]:
    import jax.numpy as jnp

    def bce_with_logits(x: Any, target: Any, weight: Any = None, pos_weight: Any = None) -> Any:
        return (jnp.logaddexp(x, 0.0) - x * target).mean()

    return bce_with_logits
