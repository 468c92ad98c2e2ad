"""What is dropped or masked is absent, and what is seen is not: NaN shows which is which."""

from __future__ import annotations

import numpy as np
import pytest

import twingrad as tg
from twingrad.parity_tests.judge.session import Session

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("junk", [1.0, NAN, INF])
def test_nothing_is_left_at_p_1(junk: float, dtype: str, session: Session) -> None:
    """Whatever `keep` says, and whatever stands in x or flows in."""
    x = np.array([junk, -junk, 2.0], dtype)
    for keep in (np.ones(3, bool), np.zeros(3, bool)):
        for name in session.options.backends:
            inputs = {"x": x, "keep": keep}
            y, grads = tg.vjp("dropout", inputs, x, backend=name, p=1.0)
            np.testing.assert_array_equal(y, np.zeros(3, dtype), name, strict=True)
            np.testing.assert_array_equal(grads["x"], np.zeros(3, dtype), name, strict=True)


def test_an_infinite_value_that_all_see_spoils_its_own_feature(
    dtype: str, session: Session
) -> None:
    """Without a mask nothing has to be kept out, so nothing beside it is touched."""
    inputs = {name: np.ones((2, 3), dtype) for name in ("query", "key", "value")}
    inputs["value"][0, 1] = INF
    for name in session.options.backends:
        y = tg.forward("attention", inputs, backend=name)
        np.testing.assert_array_equal(y, np.array([[1, INF, 1]] * 2, dtype), name)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("ignored", [[True, False, False], [True, True, True]])
def test_what_is_ignored_is_absent_and_gets_no_gradient(
    ignored: list[bool], reduction: str, dtype: str, session: Session
) -> None:
    """NaN and infinity in logits whose targets are not counted."""
    rng = np.random.default_rng(41)
    x, target = rng.standard_normal((3, 4)).astype(dtype), np.where(ignored, -100, [1, 0, 3])
    junk = x.copy()
    junk[0], junk[1:][ignored[1:]] = [NAN, INF, -INF, 0], NAN
    grad_y = np.ones((), dtype)
    settings = {"reduction": reduction, "label_smoothing": 0.25}
    for name in session.options.backends:
        plain, spoilt = (
            tg.vjp("cross_entropy", {"x": each, "target": target}, grad_y, name, **settings)
            for each in (x, junk)
        )
        np.testing.assert_array_equal(spoilt[0], plain[0], name)
        np.testing.assert_array_equal(spoilt[1]["x"], plain[1]["x"], name)
        assert not plain[1]["x"][ignored].any(), name


def test_a_class_of_weight_0_has_no_part_even_if_it_is_absent(dtype: str, session: Session) -> None:
    """0 * inf is NaN: a part of 0 is left out."""
    x = np.array([[1, -INF, 2]], dtype)
    inputs = {"x": x, "target": np.array([0]), "weight": np.array([1, 0, 1], dtype)}
    for name in session.options.backends:
        y, grads = tg.vjp(
            "cross_entropy", inputs, np.ones((), dtype), backend=name, label_smoothing=0.5
        )
        assert np.isfinite(y), name
        assert np.isfinite(grads["x"]).all(), name
        assert grads["x"][0, 1] == 0, name


@pytest.mark.parametrize("large", ["key", "value"])
@pytest.mark.parametrize("causal", [False, True])
def test_what_is_masked_changes_no_gradient_however_large_it_is(
    large: str, causal: bool, dtype: str, session: Session
) -> None:
    """The largest number there is, whose product with the upstream gradient overflows."""
    rng = np.random.default_rng(37)
    shapes = {"query": (2, 3, 5), "key": (2, 4, 5), "value": (2, 4, 5)}
    inputs = {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
    if not causal:  # where nobody sees the last key
        inputs["mask"] = np.array([True, True, True, False])
    grad_y = 10 * rng.standard_normal((2, 3, 5)).astype(dtype)
    spoilt = inputs | {large: inputs[large].copy()}
    spoilt[large][:, -1] = np.copysign(np.finfo(dtype).max, rng.standard_normal(5))
    for name in session.options.backends:
        plain, changed = (
            tg.vjp("attention", each, grad_y, name, causal=causal) for each in (inputs, spoilt)
        )
        np.testing.assert_array_equal(changed[0], plain[0], name)
        for key in shapes:
            np.testing.assert_array_equal(changed[1][key], plain[1][key], f"grad_{key} on {name}")


@pytest.mark.parametrize("spoilt", ["query", "key", "value"])
def test_a_nan_that_is_seen_spoils_the_gradients(spoilt: str, dtype: str, session: Session) -> None:
    """Causal, with a NaN at the end: the last query's gradient, and those of all that it sees.

    The gradient of the NaN itself is not asked for: there is no derivative there.
    """
    rng = np.random.default_rng(31)
    inputs = {name: rng.standard_normal((5, 4)).astype(dtype) for name in ("query", "key", "value")}
    grad_y = rng.standard_normal((5, 4)).astype(dtype)
    inputs[spoilt][4] = NAN
    before = [array.tobytes() for array in (*inputs.values(), grad_y)]
    for array in (*inputs.values(), grad_y):
        array.setflags(write=False)
    last = np.arange(5) == 4
    for name in session.options.backends:
        y, grads = tg.vjp("attention", inputs, grad_y, backend=name, causal=True)
        wrong = {"y": y, **grads}
        spoilt_rows = {"y": last, "query": last, "key": last | True, "value": last | True}
        for what, rows in spoilt_rows.items():
            known = ~last if what == spoilt else last | True
            nan_rows = np.isnan(wrong[what]).all(axis=-1)
            np.testing.assert_array_equal(nan_rows[known], rows[known], f"{what} on {name}")
            finite_rows = np.isfinite(wrong[what]).all(axis=-1)
            np.testing.assert_array_equal(finite_rows[known], ~rows[known], f"{what} on {name}")
    assert before == [array.tobytes() for array in (*inputs.values(), grad_y)]
