"""cross_entropy in the benchmarks: the masked tokens of a batch, in its vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twingrad.core.shapes import Lengths

LENGTHS: dict[str, Lengths] = {
    "small": {"...": (80,), "classes": (1000,)},
    "medium": {"...": (640,), "classes": (8000,)},
    "large": {"...": (640,), "classes": (30522,)},
}


def torch_plain() -> Callable[..., Any]:
    from torch.nn import functional as F

    return F.cross_entropy


def jax() -> Callable[..., Any]:
    import jax.numpy as jnp
    from jax import nn

    def cross_entropy(x: Any, target: Any, weight: Any = None) -> Any:
        log_p = nn.log_softmax(x)
        return -jnp.take_along_axis(log_p, target[:, None], axis=-1).mean()

    return cross_entropy
