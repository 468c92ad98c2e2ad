"""Attention: y = softmax(scale * query @ key.T, where visible) @ value."""

import math
from typing import NamedTuple

import numpy as np

from twingrad.backends.numpy_backend import dropout, softmax
from twingrad.core.definitions import visible_pairs
from twingrad.core.spec import Array


class Saved(NamedTuple):
    query: Array  # (..., q, d)
    key: Array  # (..., k, d)
    value: Array  # (..., k, v)
    weights: Array  # (..., q, k), before dropout
    scale: float
    dropped: dropout.Saved | None
    spoilt: Array | None  # (..., q, 1), 1 where all is well


def forward(
    query: Array,
    key: Array,
    value: Array,
    mask: Array | None = None,
    keep: Array | None = None,
    causal: bool = False,
    scale: float | None = None,
    p: float = 0.0,
) -> tuple[Array, Saved]:
    """Average the values each query may see, weighed by how its key answers the query.

    Shapes: query (..., q, d), key (..., k, d), value (..., k, v), mask and keep broadcastable to
    (..., q, k) and True where a query may attend, or a weight is kept -> y (..., q, v).
    """
    scale = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else scale
    spoilt = None
    if mask is None and not causal:
        scores = scale * (query @ key.swapaxes(-1, -2))
    else:
        visible = visible_pairs(query, key, mask, causal)
        (query, key, value), spoilt = _without_absent_values(query, key, value, visible)
        scores = np.where(visible, scale * (query @ key.swapaxes(-1, -2)), -np.inf)
    weights = softmax.normalised_exp(scores).astype(query.dtype)
    kept, dropped = weights, None
    if keep is not None:
        kept, dropped = dropout.forward(weights, keep, p)
    y = kept @ value
    if spoilt is not None:
        y *= spoilt
    return y, Saved(query, key, value, weights, scale, dropped, spoilt)


def backward(grad_y: Array, saved: Saved) -> tuple[Array, Array, Array, None, None]:
    """Return grad_query, grad_key, grad_value, and None for mask and keep.

    With w the weights: grad_w = grad_y @ value.T, grad_scores = w * (grad_w - sum(grad_w * w)),
    grad_query = scale * grad_scores @ key, grad_key = scale * grad_scores.T @ query,
    grad_value = w.T @ grad_y.
    """
    query, key, value, weights, scale, dropped, spoilt = saved
    if spoilt is not None:
        grad_y = grad_y * spoilt
    grad_weights = grad_y @ value.swapaxes(-1, -2)
    kept = weights
    if dropped is not None:
        kept, _ = dropout.forward(weights, dropped.keep, dropped.p)
        (grad_weights, _) = dropout.backward(grad_weights, dropped)
    (grad_scores,) = softmax.backward(grad_weights, softmax.Saved(weights))
    grad_query = scale * (grad_scores @ key)
    grad_key = scale * (grad_scores.swapaxes(-1, -2) @ query)
    grad_value = kept.swapaxes(-1, -2) @ grad_y
    return grad_query, grad_key, grad_value, None, None


def _without_absent_values(
    query: Array, key: Array, value: Array, visible: Array
) -> tuple[tuple[Array, Array, Array], Array | None]:
    """Return the inputs with 0 for what is not finite, and NaN for each query that sees such.

    In a matrix product 0 * NaN is NaN, so a masked NaN would reach queries that may not see it.
    """
    finite = [np.isfinite(x) for x in (query, key, value)]
    if all(ok.all() for ok in finite):
        return (query, key, value), None
    clean = [
        np.where(ok, x, x.dtype.type(0)) for ok, x in zip(finite, (query, key, value), strict=True)
    ]
    bad_query, bad_key, bad_value = (~np.all(ok, axis=-1, keepdims=True) for ok in finite)
    sees_bad = visible & (bad_query | (bad_key | bad_value).swapaxes(-1, -2))
    spoilt = np.where(
        sees_bad.any(axis=-1, keepdims=True), query.dtype.type(np.nan), query.dtype.type(1)
    )
    return (clean[0], clean[1], clean[2]), spoilt
