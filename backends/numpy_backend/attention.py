"""Attention: y = softmax(scale * query @ key.T, where visible) @ value."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from twingrad.backends.numpy_backend import blocks, dropout, softmax
from twingrad.core.layers.attention import visible_pairs
from twingrad.core.spec import Array

LEAST_QUERIES = 32  # of a tile: fewer make matrix products slow


class Saved(NamedTuple):
    query: Array  # (..., q, d)
    key: Array  # (..., k, d)
    value: Array  # (..., k, v)
    top: Array  # (..., q, 1): the weights are e^(scores - top) / total; none of them is kept
    total: Array  # (..., q, 1)
    scoring: "Scoring"
    spoilt: Array | None  # (..., q, 1), 1 where all is well


class Scoring(NamedTuple):
    """What a query may see, and what its answers are multiplied with."""

    mask: Array | None
    keep: Array | None
    causal: bool
    scale: float
    p: float


class Tile(NamedTuple):
    """Some heads, some of their queries, and the keys that these may look at."""

    heads: tuple[Any, ...]
    queries: slice
    keys: slice


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
    No q x k matrix is kept; the backward computes its tiles again (Dao et al. 2022,
    arXiv:2205.14135).
    """
    scale = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else scale
    pairs = (*query.shape[:-1], key.shape[-2])
    mask, keep = (None if x is None else np.broadcast_to(x, pairs) for x in (mask, keep))
    scoring = Scoring(mask, keep, causal, scale, p)
    spoilt = None
    if mask is not None or causal:
        (query, key, value), spoilt = _without_absent_values(query, key, value, mask, causal)
    y = np.empty((*query.shape[:-1], value.shape[-1]), query.dtype)
    top = np.empty((*query.shape[:-1], 1), query.dtype)
    total = np.empty(top.shape, query.dtype)

    def attend(tile: Tile) -> None:
        heads, queries, keys = tile
        at = (*heads, queries)
        scores = _scores(query, key, scoring, tile)
        top[at] = softmax.top_of_each_row(scores)
        total[at] = _exp_from(top[at], scores).sum(axis=-1, keepdims=True)
        total[at] += total[at] == 0  # a query that sees nothing
        weights = np.divide(scores, total[at], out=scores)
        np.matmul(_dropped(weights, scoring, tile), value[(*heads, keys)], out=y[at])

    def attend_all(heads: tuple[Any, ...]) -> None:
        for tile in _tiles(heads, pairs, causal):
            attend(tile)

    blocks.each(attend_all, _groups(pairs))
    if spoilt is not None:
        y *= spoilt
    return y, Saved(query, key, value, top, total, scoring, spoilt)


def backward(grad_y: Array, saved: Saved) -> tuple[Array, Array, Array, None, None]:
    """Return grad_query, grad_key, grad_value, and None for mask and keep.

    With w the weights: grad_w = grad_y @ value.T, grad_scores = w * (grad_w - sum(grad_w * w)),
    grad_query = scale * grad_scores @ key, grad_key = scale * grad_scores.T @ query,
    grad_value = w.T @ grad_y.
    """
    query, key, value, top, total, scoring, spoilt = saved
    if spoilt is not None:
        grad_y = grad_y * spoilt
    pairs = (*query.shape[:-1], key.shape[-2])
    grad_query = np.empty(query.shape, query.dtype)
    grad_key, grad_value = np.zeros(key.shape, key.dtype), np.zeros(value.shape, value.dtype)

    def attend(tile: Tile) -> None:
        heads, queries, keys = tile
        at, seen = (*heads, queries), (*heads, keys)
        weights = _exp_from(top[at], _scores(query, key, scoring, tile))
        weights /= total[at]
        grad_weights = grad_y[at] @ value[seen].swapaxes(-1, -2)
        if not np.isfinite(grad_weights).all():
            grad_weights[weights == 0] = 0  # what is masked is absent, and 0 * inf would be NaN
        grad_weights = _dropped(grad_weights, scoring, tile)
        grad_value[seen] += _dropped(weights, scoring, tile).swapaxes(-1, -2) @ grad_y[at]
        grad_scores = weights * grad_weights
        np.subtract(grad_weights, grad_scores.sum(axis=-1, keepdims=True), out=grad_scores)
        grad_scores *= weights
        grad_scores *= scoring.scale
        np.matmul(grad_scores, key[seen], out=grad_query[at])
        grad_key[seen] += grad_scores.swapaxes(-1, -2) @ query[at]

    def attend_all(heads: tuple[Any, ...]) -> None:
        for tile in _tiles(heads, pairs, scoring.causal):
            attend(tile)

    blocks.each(attend_all, _groups(pairs))
    return grad_query, grad_key, grad_value, None, None


def _groups(pairs: tuple[int, ...]) -> list[tuple[Any, ...]]:
    """Return indices of groups of heads, as many in each as have scores for a tile."""
    *lead, queries, keys = pairs
    if not lead:
        return [()]
    size = max(1, blocks.ELEMENTS // max(queries * keys, 1))
    slices = [slice(start, start + size) for start in range(0, lead[-1], size)]
    return [(*index, part) for index in np.ndindex(*lead[:-1]) for part in slices]


def _tiles(heads: tuple[Any, ...], pairs: tuple[int, ...], causal: bool) -> Iterator[Tile]:
    """Yield the tiles of a group of heads; causal ones end with the last key that is seen."""
    queries, keys = pairs[-2:]
    size = max(LEAST_QUERIES, blocks.ELEMENTS // max(keys, 1))
    for start in range(0, queries, size):
        stop = min(start + size, queries)
        yield Tile(heads, slice(start, stop), slice(0, min(stop, keys) if causal else keys))


def _scores(query: Array, key: Array, scoring: Scoring, tile: Tile) -> Array:
    """Return scale * query @ key.T of a tile, and -inf for what is masked."""
    heads, queries, keys = tile
    scores: Array = query[(*heads, queries)] @ key[(*heads, keys)].swapaxes(-1, -2)
    scores *= scoring.scale
    if scoring.mask is not None:
        scores[~scoring.mask[(*heads, queries, keys)]] = -np.inf
    if scoring.causal:
        numbers = np.arange(queries.stop)
        scores[..., numbers[keys] > numbers[queries, None]] = -np.inf
    return scores


def _exp_from(top: Array, scores: Array) -> Array:
    """Return e^(scores - top), written over the scores."""
    scores -= top
    return np.exp(scores, out=scores)


def _dropped(x: Array, scoring: Scoring, tile: Tile) -> Array:
    """Return a tile of weights, or of their gradients, less what dropout drops."""
    if scoring.keep is None:
        return x
    kept, _ = dropout.forward(x, scoring.keep[(*tile.heads, tile.queries, tile.keys)], scoring.p)
    return kept


def _without_absent_values(
    query: Array, key: Array, value: Array, mask: Array | None, causal: bool
) -> tuple[tuple[Array, Array, Array], Array | None]:
    """Return the inputs with 0 for what is not finite, and NaN for each query that sees such.

    In a matrix product 0 * NaN is NaN, so a masked NaN would reach queries that may not see it.
    """
    finite = [np.isfinite(x) for x in (query, key, value)]
    if all(ok.all() for ok in finite):
        return (query, key, value), None
    visible = visible_pairs(query, key, mask, causal)
    clean = [
        np.where(ok, x, x.dtype.type(0)) for ok, x in zip(finite, (query, key, value), strict=True)
    ]
    bad_query, bad_key, bad_value = (~np.all(ok, axis=-1, keepdims=True) for ok in finite)
    sees_bad = visible & (bad_query | (bad_key | bad_value).swapaxes(-1, -2))
    spoilt = np.where(
        sees_bad.any(axis=-1, keepdims=True), query.dtype.type(np.nan), query.dtype.type(1)
    )
    return (clean[0], clean[1], clean[2]), spoilt
