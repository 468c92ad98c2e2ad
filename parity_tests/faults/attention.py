"""Wrong kernels of attention that the laws must catch."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.backends.numpy_backend import attention
from twingrad.core.layers.attention import visible_pairs
from twingrad.core.spec import Array
from twingrad.parity_tests.faults.table import fault


@fault("attention", "forward", called="scale forgotten")
def without_scale(query: Array, *args: Any, **kwargs: Any) -> tuple[Array, Any]:
    """1 / sqrt(d) forgotten."""
    kwargs["scale"] = 1.0 if kwargs.get("scale") is None else kwargs["scale"]
    return attention.forward(query, *args, **kwargs)


@fault("attention", "forward", called="diagonal hidden")
def with_the_diagonal_hidden(
    query: Array, key: Array, value: Array, mask: Any = None, causal: bool = False, **kwargs: Any
) -> tuple[Array, Any]:
    """Causal by one too many: no query sees its own key."""
    if causal:
        strict = np.tril(np.ones((query.shape[-2], key.shape[-2]), bool), -1)
        mask = strict if mask is None else mask & strict
    return attention.forward(query, key, value, mask, causal=causal, **kwargs)


@fault("attention", "forward", called="mask inverted")
def with_the_mask_inverted(
    query: Array, key: Array, value: Array, mask: Any = None, **kwargs: Any
) -> tuple[Array, Any]:
    """True taken for hidden."""
    return attention.forward(query, key, value, None if mask is None else ~mask, **kwargs)


@fault(
    "attention",
    "forward",
    breaks=(
        "hidden keys are dropped keys",
        "one visible key gives its value, bit for bit",
    ),
)
def with_a_finite_mask(
    query: Array, key: Array, value: Array, mask: Any = None, causal: bool = False, **others: Any
) -> tuple[Array, Any]:
    """Values that are hidden leak in by a part in 10^4."""
    y, saved = attention.forward(query, key, value, mask, causal=causal, **others)
    visible = visible_pairs(query, key, mask, causal)
    leak = np.where(visible, 0, 1e-4).astype(value.dtype) @ np.nan_to_num(value)
    return y + leak, saved


@fault("attention", "backward", breaks=("the values get all of the upstream",))
def with_gradients_from_blind_queries(grad_y: Array, saved: Any) -> tuple[Array | None, ...]:
    """Rows that see nothing are taken for uniform, so what flows into them reaches the values."""
    grad_query, grad_key, grad_value, *others = attention.backward(grad_y, saved)
    scoring = saved.scoring
    visible = visible_pairs(saved.query, saved.key, scoring.mask, scoring.causal)
    blind = ~visible.any(axis=-1, keepdims=True)
    assert grad_value is not None
    extra = np.where(blind, grad_y, 0).sum(axis=-2, keepdims=True) / max(grad_value.shape[-2], 1)
    return (grad_query, grad_key, (grad_value + extra).astype(grad_y.dtype), *others)
