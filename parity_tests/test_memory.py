"""What an optimizer returns is its own: a gradient that is used again does not change it."""

from __future__ import annotations

import itertools
from typing import Any

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

import twingrad as tg
from twingrad.core.spec import OptimizerSpec
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.judge.strategies import SHAPE, optimizer_settings


@given(data=st.data())
def test_states_share_no_memory_with_gradients_or_weights(
    optimizer: OptimizerSpec, dtype: str, session: Session, data: st.DataObject
) -> None:
    settings = data.draw(optimizer_settings(optimizer), label="settings")
    for name in session.options.backends:
        weight = np.ones(SHAPE, dtype)
        state: dict[str, Any] = {}
        for size in (0.5, -2.0):
            grad = np.full(SHAPE, size, dtype)
            new, new_state = tg.optimizer_step(
                optimizer.name,
                weight,
                grad,
                state or None,
                backend=name,
                **settings,
            )
            held = [array for key, array in new_state.get("0", {}).items() if key != "step"]
            before = [array for key, array in state.get("0", {}).items() if key != "step"]
            for one, other in (
                *itertools.product([new, *held], [weight, grad, *before]),
                *itertools.combinations([new, *held], 2),
            ):
                assert not np.shares_memory(one, other), f"{optimizer.name} on {name}"
            weight, state = new, new_state
