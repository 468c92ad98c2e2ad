"""What is dropped or masked is absent, and what is seen is not: NaN shows which is which."""

from __future__ import annotations

import numpy as np
import pytest

import twingrad as tg
from twingrad.parity_tests.options import options

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("junk", [1.0, NAN, INF])
def test_nothing_is_left_at_p_1(junk: float, dtype: str) -> None:
    """Whatever `keep` says, and whatever stands in x or flows in."""
    x = np.array([junk, -junk, 2.0], dtype)
    for keep in (np.ones(3, bool), np.zeros(3, bool)):
        for name in options().backends:
            inputs = {"x": x, "keep": keep}
            y, grads = tg.vjp("dropout", inputs, x, backend=name, p=1.0)
            np.testing.assert_array_equal(y, np.zeros(3, dtype), name, strict=True)
            np.testing.assert_array_equal(grads["x"], np.zeros(3, dtype), name, strict=True)


def test_an_infinite_value_that_all_see_spoils_its_own_feature(dtype: str) -> None:
    """Without a mask nothing has to be kept out, so nothing beside it is touched."""
    inputs = {name: np.ones((2, 3), dtype) for name in ("query", "key", "value")}
    inputs["value"][0, 1] = INF
    for name in options().backends:
        y = tg.forward("attention", inputs, backend=name)
        np.testing.assert_array_equal(y, np.array([[1, INF, 1]] * 2, dtype), name)


@pytest.mark.parametrize("spoilt", ["query", "key", "value"])
def test_a_nan_that_is_seen_spoils_the_gradients(spoilt: str, dtype: str) -> None:
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
    for name in options().backends:
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
