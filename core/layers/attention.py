"""Attention: y = softmax(scale * query @ key.T, where visible) @ value."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.core.catalogue import register_layer
from twingrad.core.layers.dropout import dropout
from twingrad.core.layers.softmax import softmax
from twingrad.core.spec import Array, Flag, LayerSpec, Number


def attention(
    query: Array,
    key: Array,
    value: Array,
    mask: Array | None = None,
    keep: Array | None = None,
    causal: bool = False,
    scale: float | None = None,
    p: float = 0.0,
) -> Array:
    scale = _default_scale(query) if scale is None else scale
    visible = visible_pairs(query, key, mask, causal)[..., None]
    # Pair by pair, since a masked pair is absent: whatever stands in it must not be touched.
    pairs = np.where(visible, query[..., :, None, :] * key[..., None, :, :], 0)
    weights = softmax(np.where(visible[..., 0], pairs.sum(axis=-1) * scale, -np.inf))
    if keep is not None:
        weights = dropout(weights, keep, p)
    y: Array = np.where(visible, weights[..., None] * value[..., None, :, :], 0).sum(axis=-2)
    return y


def visible_pairs(query: Array, key: Array, mask: Array | None, causal: bool) -> Array:
    """Return which query may attend to which key, as booleans (..., q, k); causal is top-left."""
    shape = (*query.shape[:-1], key.shape[-2])
    visible: Array = np.ones(shape, bool) if mask is None else np.broadcast_to(mask, shape)
    return np.tril(visible) if causal else visible


def _default_scale(query: Array) -> Any:
    # A query of no features has scores of 0 whatever the scale is.
    return 1 / np.sqrt(np.real(query).dtype.type(max(query.shape[-1], 1)))


SPEC = LayerSpec(
    name="attention",
    formula="y = softmax(scale * query @ key.T, where visible) @ value",
    inputs={
        "query": "... q d",
        "key": "... k d",
        "value": "... k v",
        "mask": "... q k",
        "keep": "... q k",
    },
    optional=("mask", "keep"),
    broadcast=("mask", "keep"),
    booleans=("mask", "keep"),
    output="... q v",
    source="Vaswani et al. 2017, arXiv:1706.03762, eq. 1",
    definition=attention,
    settings={
        "causal": Flag(),
        "scale": Number(None),
        "p": Number(0.0, low=0.0, high=1.0),
    },
    meaning=(
        "mask is True where a query may attend; a masked pair is absent, whatever stands there; "
        "a query with nothing to attend to gives 0 with gradient 0; causal is aligned top-left; "
        "scale None is 1 / sqrt(d); keep drops weights (p) as dropout does, and is drawn outside"
    ),
)
register_layer(SPEC)
