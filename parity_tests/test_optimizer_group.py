"""An optimizer of many parameters does to each what `optimizer_step` does to it alone."""

from __future__ import annotations

import copy
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import twingrad as tg
from twingrad.backends.numpy_backend import blocks, flat
from twingrad.core.spec import Array, OptimizerSpec
from twingrad.parity_tests.judge.strategies import optimizer_settings
from twingrad.parity_tests.laws.optimizers import class_of

BACKENDS = ("numpy", "torch")
STEPS = 4
BLOCK = 8  # elements: so few that parameters begin and end inside blocks

shapes = st.lists(st.lists(st.integers(0, 4), max_size=3).map(tuple), min_size=1, max_size=6)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "ELEMENTS", BLOCK)


class Alone:
    """One parameter, and what `optimizer_step` makes of it."""

    def __init__(self, weight: Array) -> None:
        self.weight = weight
        self.state: dict[str, Any] | None = None

    def step(self, name: str, grad: Array, backend: str, settings: dict[str, Any]) -> None:
        self.weight, self.state = tg.optimizer_step(
            name, self.weight, grad, self.state, backend=backend, **settings
        )


@given(data=st.data())
def test_a_group_steps_as_each_of_its_parameters_does_alone(
    optimizer: OptimizerSpec, dtype: str, data: st.DataObject
) -> None:
    """Whatever has a gradient when, with settings that change and states that come from a file."""
    lengths = data.draw(shapes, label="shapes")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="seed"))
    first = [rng.standard_normal(shape).astype(dtype) for shape in lengths]
    cut = data.draw(st.integers(0, len(first) - 1), label="parameters of the first group")
    plan = [
        (
            data.draw(optimizer_settings(optimizer), label=f"settings of step {number}"),
            [
                rng.standard_normal(shape).astype(dtype) if data.draw(st.booleans()) else None
                for shape in lengths
            ],
            data.draw(st.booleans(), label=f"loaded before step {number}"),
        )
        for number in range(STEPS)
    ]
    for backend in BACKENDS:
        params = [tg.tensor(weight, backend, requires_grad=True) for weight in first]
        groups = [{"params": part} for part in (params[:cut], params[cut:]) if part]
        together = class_of(optimizer)(groups, **plan[0][0])
        alone = [Alone(weight) for weight in first]
        for settings, grads, is_loaded in plan:
            if is_loaded:
                saved = together.state_dict()
                together = class_of(optimizer)(groups, **settings)
                together.load_state_dict(saved)
            for group in together.param_groups:
                group.update(settings)
            for param, one, grad in zip(params, alone, grads, strict=True):
                param.grad = None if grad is None else tg.tensor(grad, backend)
                if grad is not None:
                    one.step(optimizer.name, grad, backend, settings)
            together.step()
            for param, one in zip(params, alone, strict=True):
                np.testing.assert_array_equal(tg.to_numpy(param), one.weight, backend, strict=True)


def test_a_gradient_that_is_kept_stays_as_it_was() -> None:
    for backend in BACKENDS:
        param = tg.tensor(np.ones(3), backend, requires_grad=True)
        optimizer = tg.AdamW([param])
        kept = []
        for factor in (1.0, 2.0):
            optimizer.zero_grad()
            (factor * param).sum().backward()
            optimizer.step()
            kept.append(param.grad)
        np.testing.assert_array_equal([tg.to_numpy(grad) for grad in kept], [[1.0] * 3, [2.0] * 3])


def test_a_copy_of_model_and_optimizer_trains_by_itself() -> None:
    for backend in BACKENDS:
        model = tg.build(tg.Sequential(tg.Linear(3, 2), tg.Linear(2, 1)), backend)
        optimizer = tg.AdamW(model.parameters(), lr=0.1)
        pair: Any = (model, optimizer)
        for _ in range(2):
            twins = copy.deepcopy(pair)
            for one, opt in (pair, twins):
                opt.zero_grad()
                one(np.ones((1, 3), "float32")).sum().backward()
                opt.step()
            for name, value in pair[0].state_dict().items():
                twin = tg.to_numpy(twins[0].state_dict()[name])
                np.testing.assert_array_equal(tg.to_numpy(value), twin, name)


def test_a_gradient_from_the_wrong_place_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = flat._part
    monkeypatch.setattr(flat, "_part", lambda grads, ends, at: honest(grads, ends, at)[::-1])
    weight, grad = np.random.default_rng(5).standard_normal((2, 2 * BLOCK))
    param = tg.tensor(weight, "numpy", requires_grad=True)
    param.grad = tg.tensor(grad, "numpy")
    tg.SGD([param]).step()
    right, _ = tg.optimizer_step("sgd", weight, grad)
    assert not np.array_equal(tg.to_numpy(param), right)
