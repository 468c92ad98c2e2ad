"""Both backends walk the path of the recurrence, step by step, from any settings."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

import twingrad as tg
from twingrad.core.spec import OptimizerSpec
from twingrad.parity_tests.judge.checks import check_walk, compare_weights
from twingrad.parity_tests.judge.recurrence import Recurrence
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.judge.strategies import SHAPE, optimizer_settings, walks


@given(data=st.data())
def test_both_backends_follow_the_recurrence(
    optimizer: OptimizerSpec, dtype: str, session: Session, data: st.DataObject
) -> None:
    check_walk(data.draw(walks(optimizer, dtype), label="walk"), session)


@given(data=st.data())
def test_a_state_goes_on_with_the_other_backend(
    optimizer: OptimizerSpec, dtype: str, session: Session, data: st.DataObject
) -> None:
    """Steps taken in turns by the backends follow the same recurrence."""
    walk = data.draw(walks(optimizer, dtype), label="walk")
    rng = np.random.default_rng(walk.seed)
    weight = rng.standard_normal(SHAPE).astype(dtype)
    path, state = Recurrence(optimizer, walk.settings, weight), None
    for number in range(12):
        grad = rng.standard_normal(SHAPE).astype(dtype)
        path.step(grad)
        name = session.options.backends[number % len(session.options.backends)]
        weight, state = tg.optimizer_step(
            optimizer.name, weight, grad, state, backend=name, **walk.settings
        )
    compare_weights(walk, {"in turns": weight}, path.weight, path.allowed, session)


@given(data=st.data())
def test_arguments_stay_and_results_are_new(
    optimizer: OptimizerSpec, dtype: str, session: Session, data: st.DataObject
) -> None:
    settings = data.draw(optimizer_settings(optimizer), label="settings")
    params = {"w": np.ones(SHAPE, dtype), "frozen": np.ones(2, dtype)}
    grads = {"w": np.full(SHAPE, 0.5, dtype), "frozen": None}
    for name in session.options.backends:
        first, state = tg.optimizer_step(optimizer.name, params, grads, backend=name, **settings)
        kept = {key: value.copy() for key, value in state["w"].items() if key != "step"}
        second, _ = tg.optimizer_step(optimizer.name, first, grads, state, backend=name, **settings)
        assert state["w"]["step"] == 1
        for key, value in kept.items():
            np.testing.assert_array_equal(state["w"][key], value)
        assert not np.shares_memory(first["w"], params["w"])
        assert not np.shares_memory(first["w"], second["w"])
        np.testing.assert_array_equal(params["w"], np.ones(SHAPE, dtype))
        np.testing.assert_array_equal(grads["w"], np.full(SHAPE, 0.5, dtype))
        # A parameter without a gradient neither decays nor gets a state.
        np.testing.assert_array_equal(second["frozen"], params["frozen"])
        assert "frozen" not in state


def test_maximize_is_minimize_of_the_negative(
    optimizer: OptimizerSpec, dtype: str, session: Session
) -> None:
    weight, grad = (np.random.default_rng(n).standard_normal(SHAPE).astype(dtype) for n in (1, 2))
    for name in session.options.backends:
        up, _ = tg.optimizer_step(optimizer.name, weight, grad, backend=name, maximize=True)
        down, _ = tg.optimizer_step(optimizer.name, weight, -grad, backend=name)
        np.testing.assert_array_equal(up, down)
