"""attention in the benchmarks: plain, causal, and with what a mask and dropout leave."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from twingrad.benchmarks.pages import KEPT, Variant
from twingrad.core.shapes import Lengths
from twingrad.core.spec import Settings

LENGTHS: dict[str, Lengths] = {
    "small": {"...": (1, 2), "q": (64,), "d": (32,), "k": (64,), "v": (32,)},
    "medium": {"...": (2, 8), "q": (256,), "d": (64,), "k": (256,), "v": (64,)},
    "large": {"...": (2, 8), "q": (1024,), "d": (64,), "k": (1024,), "v": (64,)},
}
VARIANTS = (
    Variant(),
    Variant("causal", settings={"causal": True}),
    Variant("mask keep", optional=("mask", "keep"), settings={"p": 1 - KEPT}),
)


def flops(lengths: Lengths, settings: Settings) -> float:
    """Return what both products need, of which a causal one is but half."""
    q, k, d, v = (lengths[dim][0] for dim in "qkdv")
    pairs = q * k / (2 if settings["causal"] else 1)
    return 2.0 * math.prod(lengths["..."]) * pairs * (d + v)


def torch_plain() -> Callable[..., Any]:
    from torch.nn import functional as F

    def attention(
        query: Any, key: Any, value: Any, mask: Any, keep: Any, causal: bool = False, p: float = 0.0
    ) -> Any:
        if keep is None:
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, is_causal=causal
            )
        # torch's own function draws by itself what it drops.
        scores = query @ key.mT / math.sqrt(query.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        return scores.softmax(-1) * keep / (1 - p) @ value

    return attention


def jax() -> Callable[..., Any]:
    import jax.numpy as jnp
    from jax.nn import softmax

    def attention(
        query: Any, key: Any, value: Any, mask: Any, keep: Any, causal: bool = False, p: float = 0.0
    ) -> Any:
        scores = query @ key.mT / math.sqrt(query.shape[-1])
        if causal:
            mask = jnp.tril(jnp.ones(scores.shape[-2:], bool))
        weights = softmax(scores if mask is None else jnp.where(mask, scores, -jnp.inf))
        return (weights if keep is None else weights * keep / (1 - p)) @ value

    return attention
