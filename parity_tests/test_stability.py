"""Finite in, finite out, without a warning; and at infinity, NaN and ties what the spec says."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import twingrad as tg
from twingrad.backends.numpy_backend.kernels import KERNELS
from twingrad.core.calls import layer
from twingrad.core.spec import LayerSpec
from twingrad.parity_tests.judge import oracle
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.judge.checks import check_forward
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.judge.strategies import cases

INF, NAN = float("inf"), float("nan")
MOST = float(np.finfo(np.float32).max)

# layer, settings, x, y, gradient for an upstream gradient of 1
ELEMENTWISE: list[tuple[str, dict[str, Any], float, float, float]] = [
    ("tanh", {}, MOST, 1, 0),
    ("tanh", {}, -MOST, -1, 0),
    ("tanh", {}, INF, 1, 0),
    ("tanh", {}, -INF, -1, 0),
    ("tanh", {}, 0, 0, 1),
    ("tanh", {}, NAN, NAN, NAN),
    ("sigmoid", {}, MOST, 1, 0),
    ("sigmoid", {}, -MOST, 0, 0),
    ("sigmoid", {}, INF, 1, 0),
    ("sigmoid", {}, -INF, 0, 0),
    ("sigmoid", {}, 0, 0.5, 0.25),
    ("sigmoid", {}, NAN, NAN, NAN),
    ("relu", {}, 0, 0, 0),
    ("relu", {}, -0.0, 0, 0),
    ("relu", {}, MOST, MOST, 1),
    ("relu", {}, INF, INF, 1),
    ("relu", {}, -INF, 0, 0),
    ("relu", {}, NAN, NAN, 1),
    *(
        ("gelu", {"approximate": form}, x, y, grad)
        for form in ("none", "tanh")
        for x, y, grad in (
            (INF, INF, 1),
            (-INF, 0, 0),
            (MOST, MOST, 1),
            (-MOST, 0, 0),
            (3e38, float(np.float32(3e38)), 1),
            (1e20, float(np.float32(1e20)), 1),
            (0, 0, 0.5),
            (NAN, NAN, NAN),
        )
    ),
]


@pytest.mark.parametrize(("name", "settings", "x", "y", "grad"), ELEMENTWISE)
def test_elementwise_layers_at_special_values(
    name: str, settings: dict[str, Any], x: float, y: float, grad: float, session: Session
) -> None:
    # Nine of them, so that vectorised and remaining elements are both looked at.
    inputs = {"x": np.full(9, x, np.float32)}
    for backend in session.options.backends:
        got, grads = tg.vjp(name, inputs, np.ones(9, np.float32), backend=backend, **settings)
        np.testing.assert_array_equal(got, np.full(9, y, np.float32), backend)
        np.testing.assert_array_equal(grads["x"], np.full(9, grad, np.float32), backend)


@pytest.mark.parametrize(
    ("x", "target", "loss", "grad"),
    [
        (INF, 1, 0, 0),
        (-INF, 0, 0, 0),
        (-INF, 1, INF, -1),
        (INF, 0, INF, 1),
        (1e4, 0, 1e4, 1),
        (-1e4, 1, 1e4, -1),
        (1e4, 1, 0, 0),
        (-1e4, 0, 0, 0),
        (40, 0, 40, 1),
        (-800, 0, 0, 0),
        (NAN, 1, NAN, NAN),
        (0, 0.5, float(np.log1p(1.0)), 0),
    ],
)
@pytest.mark.about("bce_with_logits")
def test_bce_with_logits_at_special_values(
    x: float, target: float, loss: float, grad: float, session: Session
) -> None:
    inputs = {"x": np.full(3, float(x)), "target": np.full(3, float(target))}
    for backend in session.options.backends:
        for more in ({}, {"pos_weight": np.ones(1)}):
            y, grads = tg.vjp(
                "bce_with_logits", inputs | more, np.ones(3), backend=backend, reduction="none"
            )
            np.testing.assert_array_equal(y, np.full(3, loss), backend)
            np.testing.assert_array_equal(grads["x"], np.full(3, grad), backend)


@pytest.mark.about("bce_with_logits")
def test_the_mean_of_no_losses_is_0(session: Session) -> None:
    inputs = {"x": np.zeros((0, 2)), "target": np.zeros((0, 2))}
    for backend in session.options.backends:
        y, grads = tg.vjp("bce_with_logits", inputs, np.ones(()), backend=backend)
        assert y == 0
        assert grads["x"].shape == (0, 2)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_a_logit_of_minus_infinity_is_absent(name: str, session: Session) -> None:
    """The others behave as if it were not there; its probability and gradient are exactly 0."""
    rng = np.random.default_rng(3)
    x, grad_y = rng.standard_normal((4, 6)), rng.standard_normal((4, 6))
    x[:, [1, 4]] = -INF
    x[3] = -INF
    there = [0, 2, 3, 5]
    for backend in session.options.backends:
        y, grads = tg.vjp(name, {"x": x}, grad_y, backend=backend)
        # The last row, which is empty, stays out: here nothing is absent.
        rest, rest_grad_y = x[:3, there], grad_y[:3, there]
        kept, kept_grads = tg.vjp(name, {"x": rest}, rest_grad_y, backend=backend)
        np.testing.assert_array_equal(y[:, [1, 4]], 0 if name == "softmax" else -INF)
        np.testing.assert_array_equal(y[3], 0 if name == "softmax" else -INF)
        np.testing.assert_array_equal(grads["x"][:, [1, 4]], 0)
        np.testing.assert_array_equal(grads["x"][3], 0)
        # Only the order of the sums may differ.
        room = 64 * np.finfo(float).eps
        assert np.all(np.abs(grads["x"][:3, there] - kept_grads["x"]) <= room * 6)
        assert np.all(np.abs(y[:3, there] - kept) <= room * (1 + np.abs(kept)))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_logits_may_be_anywhere(name: str, dtype: str, session: Session) -> None:
    """Whole numbers far from 0 give what they give near it, bit for bit."""
    x = np.random.default_rng(4).integers(-9, 9, (3, 5)).astype(dtype)
    for backend in session.options.backends:
        near = tg.forward(name, {"x": x}, backend=backend)
        for offset in (2.0**20, -(2.0**20)):
            far = tg.forward(name, {"x": x + x.dtype.type(offset)}, backend=backend)
            np.testing.assert_array_equal(near, far, f"{offset} on {backend}", strict=True)


@pytest.mark.about("cross_entropy")
def test_a_target_that_is_impossible_costs_infinitely_much_and_has_no_slope(
    dtype: str, session: Session
) -> None:
    """Its logit is -inf, and stays so whichever way the others move."""
    inputs = {"x": np.array([[1, -INF, 2], [0, 1, 2]], dtype), "target": np.array([1, 2])}
    for backend in session.options.backends:
        y, grads = tg.vjp("cross_entropy", inputs, np.ones((), dtype), backend=backend)
        assert y == INF, backend
        np.testing.assert_array_equal(grads["x"][0], 0, backend)
        assert grads["x"][1].all(), backend


@pytest.mark.about("layer_norm")
def test_a_constant_row_is_normalised_to_exactly_bias(session: Session) -> None:
    rng = np.random.default_rng(5)
    for dtype in ("float32", "float64"):
        for features in (1, 3, 7, 33, 100, 768):
            x = np.repeat(rng.uniform(-9, 9, (5, 1)), features, axis=1).astype(dtype)
            weight, bias = (rng.standard_normal(features).astype(dtype) for _ in range(2))
            inputs = {"x": x, "weight": weight, "bias": bias}
            for backend in session.options.backends:
                y = tg.forward("layer_norm", inputs, backend=backend)
                np.testing.assert_array_equal(y, np.broadcast_to(bias, y.shape), backend)


@pytest.mark.parametrize("junk", [NAN, INF, -INF, 1e30])
@pytest.mark.about("attention")
def test_what_is_masked_is_absent(junk: float, dtype: str, session: Session) -> None:
    """Whatever stands in a masked key or value, outputs and gradients are the same bits."""
    rng = np.random.default_rng(11)
    query, key, value, grad_y = (
        rng.standard_normal((2, 3, n, 4)).astype(dtype) for n in (5, 6, 6, 5)
    )
    mask = rng.random((2, 1, 1, 6)) < 0.6
    mask[1] = [True, False, True, False, False, True]
    hidden = np.broadcast_to(~mask[:, :, 0, :, None], key.shape)
    clean = {"query": query, "key": key, "value": value, "mask": mask}
    junked = clean | {
        name: np.where(hidden, junk, clean[name]).astype(dtype) for name in ("key", "value")
    }
    for backend in session.options.backends:
        y, grads = tg.vjp("attention", clean, grad_y, backend=backend)
        y2, grads2 = tg.vjp("attention", junked, grad_y, backend=backend)
        np.testing.assert_array_equal(y, y2, backend)
        for name, grad in grads.items():
            np.testing.assert_array_equal(grad, grads2[name], f"{backend} {name}")
        np.testing.assert_array_equal(grads["key"][hidden], 0, backend)
        np.testing.assert_array_equal(grads["value"][hidden], 0, backend)


@pytest.mark.about("attention")
def test_a_nan_in_the_future_does_not_reach_the_past(session: Session) -> None:
    """Causal: a NaN key and value at the end spoil the last query, and nothing before it."""
    rng = np.random.default_rng(13)
    inputs = {name: rng.standard_normal((5, 4)) for name in ("query", "key", "value")}
    grad_y = rng.standard_normal((5, 4))
    spoilt = {name: x.copy() for name, x in inputs.items()}
    spoilt["key"][4] = spoilt["value"][4] = NAN
    for backend in session.options.backends:
        y, grads = tg.vjp("attention", inputs, grad_y, backend=backend, causal=True)
        y2, grads2 = tg.vjp("attention", spoilt, grad_y, backend=backend, causal=True)
        np.testing.assert_array_equal(y[:4], y2[:4], backend)
        np.testing.assert_array_equal(grads["query"][:4], grads2["query"][:4], backend)
        assert np.isnan(y2[4]).all()


@pytest.mark.about("attention")
def test_a_query_with_nothing_to_attend_to_gives_0(session: Session) -> None:
    rng = np.random.default_rng(17)
    inputs = {name: rng.standard_normal((2, 4, 3)) for name in ("query", "key", "value")}
    inputs["mask"] = np.ones((2, 4, 4), bool)
    inputs["mask"][1, 2] = False
    inputs["query"][1, 2] = NAN
    grad_y = rng.standard_normal((2, 4, 3))
    without = np.delete(np.arange(4), 2)
    for backend in session.options.backends:
        y, grads = tg.vjp("attention", inputs, grad_y, backend=backend)
        np.testing.assert_array_equal(y[1, 2], 0, backend)
        np.testing.assert_array_equal(grads["query"][1, 2], 0, backend)
        assert np.isfinite(grads["key"]).all()
        assert np.isfinite(y[1, without]).all()


@pytest.mark.about("attention")
def test_causal_is_aligned_top_left(session: Session) -> None:
    """With fewer queries than keys, and with more, query i sees keys 0 to i."""
    rng = np.random.default_rng(19)
    spec = layer("attention")
    for queries, keys in ((2, 5), (5, 2)):
        inputs = {
            name: rng.standard_normal((n, 3))
            for name, n in (("query", queries), ("key", keys), ("value", keys))
        }
        grad_y = rng.standard_normal((queries, 3))
        masked = {**inputs, "mask": np.tril(np.ones((queries, keys), bool))}
        for case in (
            Case(spec, inputs, spec.defaults() | {"causal": True}, grad_y),
            Case(spec, masked, spec.defaults(), grad_y),
        ):
            check_forward(case, session)
            expected = oracle.output(Case(spec, masked, spec.defaults(), grad_y))
            np.testing.assert_array_equal(oracle.output(case), expected)


@pytest.mark.parametrize("junk", [NAN, INF])
@pytest.mark.about("dropout")
def test_what_is_dropped_is_gone(junk: float, session: Session) -> None:
    x = np.array([1.0, junk, 3.0, junk])
    keep = np.array([True, False, True, False])
    for backend in session.options.backends:
        y, grads = tg.vjp("dropout", {"x": x, "keep": keep}, np.ones(4), backend=backend, p=0.5)
        np.testing.assert_array_equal(y, [2, 0, 6, 0], backend)
        np.testing.assert_array_equal(grads["x"], [2, 0, 2, 0], backend)
        nothing = tg.forward("dropout", {"x": x, "keep": ~keep & keep}, backend=backend, p=1.0)
        np.testing.assert_array_equal(nothing, 0, backend)


@pytest.mark.parametrize("p", [0.1, 0.3, 0.7, 0.9])
@pytest.mark.about("dropout")
def test_the_multiplier_of_dropout_is_rounded_once(p: float, session: Session) -> None:
    x = np.random.default_rng(23).standard_normal(1000).astype(np.float32)
    keep = np.ones(1000, bool)
    for backend in session.options.backends:
        y = tg.forward("dropout", {"x": x, "keep": keep}, backend=backend, p=p)
        np.testing.assert_array_equal(y, x * np.float32(1 / (1 - p)), backend)


@pytest.mark.about("sum", "linear")
def test_a_million_equal_terms_add_up(session: Session) -> None:
    """A float32 sum over the first axis: one after the other would be 1 % off."""
    x = np.full((1_000_000, 2), 0.1, np.float32)
    right = 1e6 * float(np.float32(0.1))
    for backend in session.options.backends:
        total = tg.forward("sum", {"x": x}, backend=backend, axis=0)
        inputs = {
            "x": x[:, :1],
            "weight": np.ones((2, 1), np.float32),
            "bias": np.ones(2, np.float32),
        }
        _, grads = tg.vjp("linear", inputs, x, backend=backend)
        for got in (total, grads["bias"]):
            assert np.all(np.abs(got - right) <= right * 8 * 1000 * np.finfo(np.float32).eps), (
                backend
            )


@pytest.mark.about("linear")
def test_a_bias_gets_the_exact_sum_of_many_whole_numbers(dtype: str, session: Session) -> None:
    grad_y = np.random.default_rng(6).integers(-99, 99, (1000, 3)).astype(dtype)
    ones = np.ones((1000, 1), dtype)
    inputs = {"x": ones, "weight": np.ones((3, 1), dtype), "bias": np.ones(3, dtype)}
    for backend in session.options.backends:
        _, grads = tg.vjp("linear", inputs, grad_y, backend=backend)
        np.testing.assert_array_equal(grads["bias"], grad_y.sum(axis=0), backend, strict=True)


@pytest.mark.ours
@given(data=st.data())
def test_the_kernels_never_overflow_on_the_way(
    layer: LayerSpec, dtype: str, data: st.DataObject
) -> None:
    """The handwritten kernels raise no floating-point flag on the layer's domain, but underflow."""
    case = data.draw(cases(layer, dtype, min_length=1))
    kernel = KERNELS[layer.name]
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        y, saved = kernel.forward(**case.inputs, **case.settings)
        grads = kernel.backward(case.grad_y, saved)
    assert np.isfinite(y).all()
    assert all(np.isfinite(grad).all() for grad in grads if grad is not None)
