"""What the laws must know of attention, and what only it has."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.strategies as st
import mpmath
import numpy as np

from twingrad.core.layers.attention import visible_pairs
from twingrad.core.layers.dropout import dropout
from twingrad.core.layers.softmax import softmax
from twingrad.core.spec import Array
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.laws.ball import Ball, agree, at_most, balls, exactly, outcome, same
from twingrad.parity_tests.laws.digits import exp
from twingrad.parity_tests.laws.drawn import (
    Inputs,
    changed,
    drawn,
    on_a_grid,
    random_like,
)
from twingrad.parity_tests.laws.dropout import truth as kept_in_many_digits
from twingrad.parity_tests.laws.roundings import FUNCTION, Weights, roundings
from twingrad.parity_tests.laws.softmax import shifts
from twingrad.parity_tests.laws.table import law


def bound(
    g: Array,
    query: Array,
    key: Array,
    value: Array,
    mask: Array | None = None,
    keep: Array | None = None,
    causal: bool = False,
    scale: float | None = None,
    p: float = 0.0,
) -> Weights:
    scale = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else abs(scale)
    visible = visible_pairs(query, key, mask, causal)
    sizes = np.where(visible, scale * (np.abs(query) @ np.abs(key).swapaxes(-1, -2)), 0)
    scores = np.where(visible, scale * (query @ key.swapaxes(-1, -2)), -np.inf)
    weights = softmax(scores)
    _, shift = shifts(scores)
    (q, d), (k, v) = query.shape[-2:], value.shape[-2:]
    largest = np.max(sizes, axis=-1, keepdims=True, initial=0)
    relative = 2 * (FUNCTION + shift + (roundings(d) + 2) * largest) + roundings(k)
    multiplier: Any = 1.0
    if keep is not None:
        multiplier = dropout(np.ones_like(weights), np.broadcast_to(keep, weights.shape), p)
    kept = weights * multiplier
    grad_weights = (g @ np.abs(value).swapaxes(-1, -2)) * multiplier
    inner = grad_weights + (grad_weights * weights).sum(axis=-1, keepdims=True)
    grad_scores = (2 * relative + roundings(v) + 6) * weights * inner
    return {
        "y": (relative + roundings(k) + 2) * (kept @ np.abs(value)),
        "grad_query": scale * ((1 + roundings(k) / 4) * grad_scores @ np.abs(key)),
        "grad_key": scale * ((1 + roundings(q) / 4) * grad_scores.swapaxes(-1, -2) @ np.abs(query)),
        "grad_value": (
            ((relative + 2) * kept).swapaxes(-1, -2) + roundings(q) * kept.swapaxes(-1, -2)
        )
        @ g,
    }


def truth(
    query: Array,
    key: Array,
    value: Array,
    causal: bool,
    scale: float | None,
    p: float,
    mask: Array | None = None,
    keep: Array | None = None,
) -> Any:
    factor = 1 / mpmath.sqrt(query.shape[-1]) if scale is None else mpmath.mpf(scale)
    shape = (*query.shape[:-1], key.shape[-2])
    visible = np.broadcast_to(True if mask is None else mask, shape)
    visible = np.tril(visible) if causal else visible
    weights = np.where(visible, exp(factor * (query @ key.swapaxes(-1, -2))), 0)
    total = weights.sum(axis=-1, keepdims=True)
    weights = weights / np.where(total == 0, 1, total)
    if keep is not None:
        weights = kept_in_many_digits(weights, np.broadcast_to(keep, shape), p)
    return weights @ value


MOST_ELEMENTS = 3_000  # the definition works pair by pair, on (q, k, d) numbers
SETTINGS = {"scale": st.sampled_from([None, 0.125, 1.0, 1.7])}
# An infinite score is no case: 0 * inf is NaN, or it is absent.
NO_INFINITY = ("query", "key", "value")
NOT_BESIDE_NAN = ("keep",)  # whether a weight that is NaN and dropped is gone is not promised


def promised(words: Array) -> Array:
    """Return which queries see a NaN."""
    return np.asarray(np.any(words == "nan", axis=-1))


def _explicit(case: Case) -> Case:
    """Return the case without dropout, and with a full mask that says all."""
    visible = visible_pairs(
        case.inputs["query"], case.inputs["key"], case.inputs.get("mask"), case.settings["causal"]
    )
    return changed(case, settings={"causal": False, "p": 0.0}, mask=visible, keep=None)


def _reorder(case: Case, backend: str, moves: dict[str, tuple[int, Array]]) -> None:
    """Check that what has a reordered axis is reordered, and that the rest is as it was."""
    case = _explicit(case)
    inputs: Inputs = {
        name: np.take(case.inputs[name], order, axis)
        for name, (axis, order) in moves.items()
        if name in case.inputs
    }
    axis, order = moves.get("y", (0, None))
    grad_y = case.grad_y if order is None else np.take(case.grad_y, order, axis)
    found, moved = balls(case, backend), balls(changed(case, grad_y=grad_y, **inputs), backend)
    for what in found:
        axis, order = moves.get(what.removeprefix("grad_"), (0, None))
        expected = found[what]
        if order is not None:
            expected = expected.take(order, axis)
        agree(backend, f"{what} after {' and '.join(moves)} were reordered", moved[what], expected)


@law("attention", "keys and values may be reordered", draws=drawn)
def keys_reordered(case: Case, backend: str) -> None:
    order = np.random.default_rng(case.grad_y.size).permutation(case.inputs["key"].shape[-2])
    _reorder(case, backend, {"key": (-2, order), "value": (-2, order), "mask": (-1, order)})


@law("attention", "queries may be reordered", draws=drawn)
def queries_reordered(case: Case, backend: str) -> None:
    order = np.random.default_rng(case.grad_y.size).permutation(case.inputs["query"].shape[-2])
    _reorder(case, backend, {"query": (-2, order), "y": (-2, order), "mask": (-2, order)})


@law("attention", "a shift of all keys changes nothing", draws=drawn)
def shifted_keys(case: Case, backend: str) -> None:
    """One vector added to all keys adds one number to all scores of a query."""
    key = on_a_grid(case.inputs["key"])
    shift = on_a_grid(random_like(case, key.shape[-1:]))
    found, moved = (balls(changed(case, key=x), backend) for x in (key, key + shift))
    for what in found:
        agree(backend, f"{what} of shifted keys", moved[what], found[what])


@law("attention", "gradients of the keys cancel", draws=drawn)
def key_gradients_cancel(case: Case, backend: str) -> None:
    total = balls(case, backend)["grad_key"].sum(axis=-2)
    agree(backend, "the sum of grad_key over keys", total, 0)


@law("attention", "the values get all of the upstream", draws=drawn)
def value_gradients(case: Case, backend: str) -> None:
    """What flows into the queries that see something arrives at the values, all of it."""
    case = _explicit(case)
    sees = case.inputs["mask"].any(axis=-1, keepdims=True)
    incoming = exactly(np.where(sees, case.grad_y, case.dtype.type(0))).sum(axis=-2)
    total = balls(case, backend)["grad_value"].sum(axis=-2)
    agree(backend, "the sum of grad_value against that of grad_y", total, incoming)


@law("attention", "inner products are equal", draws=drawn)
def inner_products(case: Case, backend: str) -> None:
    found = balls(case, backend)
    by_query, by_key, by_value = (
        (found[f"grad_{name}"] * exactly(case.inputs[name])).sum()
        for name in ("query", "key", "value")
    )
    agree(backend, "<query, grad_query> against <key, grad_key>", by_query, by_key)
    by_y = (found["y"] * exactly(case.grad_y)).sum()
    agree(backend, "<value, grad_value> against <y, grad_y>", by_value, by_y)


def _extremes(case: Case, lowest: bool) -> Ball:
    value, visible = case.inputs["value"], case.inputs["mask"]
    seen = np.where(visible[..., None], value[..., None, :, :], np.inf if lowest else -np.inf)
    extreme = np.min(seen, axis=-2) if lowest else np.max(seen, axis=-2)
    return exactly(np.where(np.isinf(extreme), 0, extreme).astype(case.dtype))


@law("attention", "an output is a mean of values", draws=drawn)
def is_a_mean(case: Case, backend: str) -> None:
    """No output is outside of the values that its query sees."""
    case = _explicit(case)
    y = balls(case, backend)["y"]
    at_most(backend, "the smallest visible value against y", _extremes(case, lowest=True), y)
    at_most(backend, "y against the largest visible value", y, _extremes(case, lowest=False))


@law("attention", "values of 1 give 1", draws=drawn)
def of_ones(case: Case, backend: str) -> None:
    case = _explicit(case)
    ones = changed(case, value=np.ones_like(case.inputs["value"]))
    sees = case.inputs["mask"].any(axis=-1, keepdims=True)
    agree(backend, "y of values that are all 1", balls(ones, backend)["y"], np.where(sees, 1, 0))


@law("attention", "one visible key gives its value", draws=drawn, exact=True)
def to_one_key(case: Case, backend: str) -> None:
    """A query that sees one key gets its value, and nothing flows into query and key."""
    case = _explicit(case)
    rng = np.random.default_rng(case.grad_y.size)
    shape = case.inputs["mask"].shape
    chosen = rng.integers(0, shape[-1], shape[:-1])
    mask = chosen[..., None] == np.arange(shape[-1])
    found = outcome(changed(case, mask=mask), backend)
    expected = np.take_along_axis(case.inputs["value"], chosen[..., None], axis=-2)
    same(backend, "y of a query that sees one key", found["y"], expected)
    for name in ("query", "key"):
        nothing = np.zeros_like(case.inputs[name])
        same(backend, f"grad_{name} where one key is seen", found[f"grad_{name}"], nothing)


@law("attention", "a query of 0 sees all keys alike", draws=drawn)
def is_uniform_for_no_query(case: Case, backend: str) -> None:
    case = _explicit(case)
    mask, value = case.inputs["mask"], case.inputs["value"]
    y = balls(changed(case, query=np.zeros_like(case.inputs["query"])), backend)["y"]
    seen = np.where(mask[..., None], value[..., None, :, :], value.dtype.type(0))
    count, total = mask.sum(axis=-1, keepdims=True), exactly(seen).sum(axis=-2)
    agree(backend, "y of query 0 times the number of visible keys", y * count, total)


@law("attention", "hidden keys are dropped keys", draws=drawn)
def hidden_is_dropped(case: Case, backend: str) -> None:
    """Hiding keys from all queries is leaving them out, and leaving them out is hiding them."""
    case = _explicit(case)
    key, value, mask = (case.inputs[name] for name in ("key", "value", "mask"))
    kept = np.asarray(np.random.default_rng(case.grad_y.size).random(key.shape[-2]) < 0.6)
    kept[-1] = True
    hidden = balls(changed(case, mask=mask & kept), backend)
    fewer = changed(case, key=key[..., kept, :], value=value[..., kept, :], mask=mask[..., kept])
    for what, dropped in balls(fewer, backend).items():
        expected = hidden[what]
        if what in ("grad_key", "grad_value"):
            nothing = expected.value[..., ~kept, :]
            same(backend, f"{what} of hidden keys", nothing, np.zeros_like(nothing))
            expected = expected[..., kept, :]
        agree(backend, f"{what} of dropped keys", dropped, expected)


@law("attention", "padding changes nothing", draws=drawn)
def padding(case: Case, backend: str) -> None:
    """Padding of any length, hidden from the queries, changes nothing before it."""
    case = _explicit(case)
    found = balls(case, backend)
    query, key, value, mask = (case.inputs[name] for name in ("query", "key", "value", "mask"))
    for extra in (1, 5):

        def padded(x: Array, last: int = extra) -> Array:
            junk = 1e4 * random_like(case, (*x.shape[:-2], last, x.shape[-1]))
            return np.concatenate([x, junk], axis=-2)

        longer = np.zeros((*mask.shape[:-2], mask.shape[-2] + extra, mask.shape[-1] + extra), bool)
        longer[..., : mask.shape[-2], : mask.shape[-1]] = mask
        # A padding query sees a padding key, so that its gradient is not 0 for want of keys.
        longer[..., mask.shape[-2] :, mask.shape[-1] :] = True
        moved = balls(
            changed(
                case,
                grad_y=padded(case.grad_y),
                query=padded(query),
                key=padded(key),
                value=padded(value),
                mask=longer,
            ),
            backend,
        )
        for what in found:
            before = moved[what][..., : found[what].value.shape[-2], :]
            agree(backend, f"{what} before {extra} of padding", before, found[what])
