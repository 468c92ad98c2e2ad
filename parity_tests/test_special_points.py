"""Where a formula breaks, and what is meant there: powers of 0, rows picked twice, long sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import twingrad as tg
from twingrad.parity_tests.judge.session import Session

INF = float("inf")


@pytest.mark.parametrize(
    ("power", "y", "grad_x", "grad_power"),
    [
        (0.0, 1, 0, 0),
        (0.5, 0, INF, 0),
        (1.0, 0, 1, 0),
        (2.0, 0, 0, 0),
        (-0.5, INF, -INF, -INF),
        (-1.0, INF, -INF, -INF),
    ],
)
def test_a_power_of_0(
    power: float, y: float, grad_x: float, grad_power: float, dtype: str, session: Session
) -> None:
    inputs = {"x": np.zeros(3, dtype), "y": np.full(3, power, dtype)}
    for name in session.options.backends:
        got, grads = tg.vjp("pow", inputs, np.ones(3, dtype), backend=name)
        for values, expected in ((got, y), (grads["x"], grad_x), (grads["y"], grad_power)):
            np.testing.assert_array_equal(values, np.full(3, expected, dtype), name, strict=True)


def test_a_negative_0_passes_through_a_slice_and_is_lost_in_a_sum(
    dtype: str, session: Session
) -> None:
    """A slice's gradient is moved, bit for bit; what is picked by number is added to 0."""
    x, grad_y = np.ones((2, 3), dtype), np.full((1, 3), -0.0, dtype)
    for name in session.options.backends:
        for index, moved in ((slice(0, 1), [[True] * 3, [False] * 3]), ([0], [[False] * 3] * 2)):
            _, grads = tg.vjp("getitem", {"x": x}, grad_y, backend=name, index=index)
            np.testing.assert_array_equal(grads["x"], np.zeros((2, 3), dtype), name)
            np.testing.assert_array_equal(np.signbit(grads["x"]), moved, f"{index} on {name}")


def test_an_infinite_weight_stays_where_nothing_decays(dtype: str, session: Session) -> None:
    """0 * inf is NaN: no decay is no term, not a term of 0."""
    weight, grad = np.array([np.inf, -np.inf], dtype), np.ones(2, dtype)
    settings: dict[str, dict[str, Any]] = {"sgd": {"momentum": 0.9}, "adamw": {}}
    for optimizer, others in settings.items():
        for name in session.options.backends:
            new, state = tg.optimizer_step(
                optimizer, weight, grad, backend=name, weight_decay=0.0, **others
            )
            np.testing.assert_array_equal(new, weight, f"{optimizer} on {name}")
            for key in set(state["0"]) - {"step"}:
                assert np.isfinite(state["0"][key]).all(), f"{optimizer} on {name}"


@pytest.mark.parametrize(("power", "y"), [(0.5, INF), (1.5, INF), (-0.5, 0.0), (3.0, -INF)])
@pytest.mark.parametrize("count", [1, 4])
def test_powers_of_minus_infinity_and_minus_0_are_those_of_c(
    power: float, y: float, count: int, dtype: str, session: Session
) -> None:
    """C17 F.10.4.4; with one exponent of 0.5 for all, NumPy takes the root and has NaN and -0."""
    x = np.array([-INF, -0.0, 4.0, -4.0], dtype)
    at_0 = INF if power < 0 else -0.0 if power == 3 else 0.0
    for name in session.options.backends:
        found = tg.forward("pow", {"x": x, "y": np.full(count, power, dtype)}, backend=name)
        below_0 = -64.0 if power == 3 else np.nan
        expected = np.array([y, at_0, 4.0**power, below_0], dtype)
        np.testing.assert_array_equal(found, expected, name)
        np.testing.assert_array_equal(np.signbit(found[:3]), np.signbit(expected[:3]), name)


def test_the_slope_of_a_power_is_rounded_once_on_numpy() -> None:
    """Far out the rounding of y - 1 alone would be worth 20 units in the last place."""
    x, y = np.array([1e30, 1e-30], "float32"), np.array([0.1, 0.3], "float32")
    _, grads = tg.vjp("pow", {"x": x, "y": y}, np.ones(2, "float32"))
    wide_x, wide_y = x.astype(np.float64), y.astype(np.float64)
    expected = (wide_y * wide_x ** (wide_y - 1)).astype("float32")
    np.testing.assert_array_equal(grads["x"], expected)


@pytest.mark.parametrize("index", [[0, 2, 0], ([0, 2, 0],), np.array([0, 2, 0])], ids=str)
def test_an_element_that_is_picked_twice_gets_both_gradients(
    index: Any, dtype: str, session: Session
) -> None:
    """Whatever the indices are written in: a list, or an array."""
    x, grad_y = np.arange(3, dtype=dtype), np.array([1, 10, 100], dtype)
    for name in session.options.backends:
        y, grads = tg.vjp("getitem", {"x": x}, grad_y, backend=name, index=index)
        np.testing.assert_array_equal(y, x[[0, 2, 0]], name)
        np.testing.assert_array_equal(grads["x"], np.array([101, 0, 10], dtype), name)


def test_an_id_that_is_everywhere_gets_all_its_gradients(session: Session) -> None:
    """200,000 times 0.1, which float32 alone adds up to 0.2 % less."""
    count = 200_000
    inputs = {"ids": np.zeros(count, np.int64), "weight": np.ones((1, 2), np.float32)}
    grad_y = np.full((count, 2), 0.1, np.float32)
    right = count * float(np.float32(0.1))
    for name in session.options.backends:
        _, grads = tg.vjp("embedding", inputs, grad_y, backend=name)
        error = np.abs(grads["weight"].astype(np.float64) - right)
        # Added in float64 and rounded once: half a unit in the last place.
        assert np.all(error <= np.spacing(np.float32(right)) / 2), name


def test_a_long_sum_is_off_by_no_more_than_a_short_one(session: Session) -> None:
    """A million equal terms: what 256 of them may be off, however many runs of 256 there are."""
    x = np.full((1_000_000, 2), 0.1, np.float32)
    right = 1e6 * float(np.float32(0.1))
    inputs = {
        "x": x[:, :1],
        "weight": np.ones((2, 1), np.float32),
        "bias": np.ones(2, np.float32),
    }
    for name in session.options.backends:
        _, grads = tg.vjp("linear", inputs, x, backend=name)
        assert np.all(np.abs(grads["bias"] - right) <= right * 128 * np.finfo(np.float32).eps / 2)
