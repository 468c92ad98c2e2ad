"""Both backends walk the path of the recurrence, step by step, from any settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

import twingrad as tg
from twingrad.core.spec import Array, Arrays, OptimizerSpec
from twingrad.parity_tests.bounds import roundings
from twingrad.parity_tests.checks import compare_values
from twingrad.parity_tests.options import options
from twingrad.parity_tests.strategies import optimizer_settings

STEPS = 200
SHAPE = (3, 5)


class Path:
    """The recurrence in a higher precision, with the running size of what was rounded."""

    def __init__(self, spec: OptimizerSpec, settings: dict[str, Any], weight: Array) -> None:
        self.spec, self.settings = spec, settings
        self.wide = np.longdouble if weight.dtype == np.float64 else np.float64
        self.weight = weight.astype(self.wide)
        self.state: Arrays = {name: np.zeros_like(self.weight) for name in spec.state}
        self.sizes: Arrays = {name: np.zeros_like(self.weight) for name in spec.state}
        self.allowed = np.zeros_like(self.weight)
        self.unit = float(np.finfo(weight.dtype).eps) / 2
        self.steps = 0

    def step(self, grad: Array) -> None:
        self.steps += 1
        grad = grad.astype(self.wide)
        size = getattr(self, f"_size_of_{self.spec.name}")(grad)
        before = self.weight
        new, arrays = self.spec.definition(
            self.weight, grad, self.state, self.steps, **self.settings
        )
        self.weight, self.state = new, {**self.state, **arrays}
        # Each step rounds the weight three times, and carries the rounding of its update.
        self.allowed = self.allowed + self.unit * (
            3 * np.maximum(np.abs(before), np.abs(new)) + size
        )

    def _size_of_adamw(self, grad: Array) -> Array:
        (beta1, beta2), lr, eps = (self.settings[name] for name in ("betas", "lr", "eps"))
        # A running mean of memory 1 / (1 - beta) carries the roundings of that many steps, and its
        # terms may cancel, so their absolute values are what is rounded.
        sizes = self.sizes["exp_avg"] = beta1 * self.sizes["exp_avg"] + (1 - beta1) * np.abs(grad)
        memory = sum(roundings(min(self.steps, 1 / (1 - beta))) for beta in (beta1, beta2))
        second = beta2 * self.state["exp_avg_sq"] + (1 - beta2) * grad * grad
        if self.settings["amsgrad"]:
            second = np.maximum(second, self.state["max_exp_avg_sq"])
        root = np.sqrt(second / (1 - beta2**self.steps))
        size: Array = (8 + 4 * memory) * lr / (1 - beta1**self.steps) * sizes / (root + eps)
        return size

    def _size_of_sgd(self, grad: Array) -> Array:
        momentum, lr = self.settings["momentum"], self.settings["lr"]
        grad = np.abs(grad) + self.settings["weight_decay"] * np.abs(self.weight)
        sizes = self.sizes["momentum_buffer"] = momentum * self.sizes["momentum_buffer"] + grad
        memory = roundings(min(self.steps, 1 / (1 - momentum)))
        size: Array = (8 + 4 * memory) * lr * (sizes + grad)
        return size


def walk(
    spec: OptimizerSpec, dtype: str, settings: dict[str, Any], seed: int
) -> Iterator[tuple[Path, Arrays]]:
    """Yield the path and every backend's weight after each of STEPS steps."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal(SHAPE).astype(dtype)
    path = Path(spec, settings, weight)
    weights = dict.fromkeys(options().backends, weight)
    states: dict[str, Any] = dict.fromkeys(options().backends)
    scale = 10 ** rng.uniform(-4, 2, SHAPE)
    for _ in range(STEPS):
        grad = (rng.standard_normal(SHAPE) * scale).astype(dtype)
        path.step(grad)
        for name in options().backends:
            weights[name], states[name] = tg.optimizer_step(
                spec.name, weights[name], grad, states[name], backend=name, **settings
            )
        yield path, weights


@given(data=st.data())
def test_both_backends_follow_the_recurrence(
    optimizer: OptimizerSpec, dtype: str, data: st.DataObject
) -> None:
    settings = data.draw(optimizer_settings(optimizer), label="settings")
    seed = data.draw(st.integers(0, 2**32 - 1), label="seed")
    for path, weights in walk(optimizer, dtype, settings, seed):
        compare_values(
            optimizer.name,
            "weight",
            weights,
            path.weight,
            path.allowed,
            f"settings = {settings}, seed = {seed}, after step {path.steps}",
        )


@given(data=st.data())
def test_a_state_goes_on_with_the_other_backend(
    optimizer: OptimizerSpec, dtype: str, data: st.DataObject
) -> None:
    """Steps taken in turns by the backends follow the same recurrence."""
    settings = data.draw(optimizer_settings(optimizer), label="settings")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="seed"))
    weight = rng.standard_normal(SHAPE).astype(dtype)
    path, state = Path(optimizer, settings, weight), None
    for number in range(12):
        grad = rng.standard_normal(SHAPE).astype(dtype)
        path.step(grad)
        name = options().backends[number % len(options().backends)]
        weight, state = tg.optimizer_step(
            optimizer.name, weight, grad, state, backend=name, **settings
        )
    compare_values(
        optimizer.name, "weight", {"in turns": weight}, path.weight, path.allowed, repr(settings)
    )


@given(data=st.data())
def test_arguments_stay_and_results_are_new(
    optimizer: OptimizerSpec, dtype: str, data: st.DataObject
) -> None:
    settings = data.draw(optimizer_settings(optimizer), label="settings")
    params = {"w": np.ones(SHAPE, dtype), "frozen": np.ones(2, dtype)}
    grads = {"w": np.full(SHAPE, 0.5, dtype), "frozen": None}
    for name in options().backends:
        first, state = tg.optimizer_step(optimizer.name, params, grads, backend=name, **settings)
        kept = {key: value.copy() for key, value in state["w"].items() if key != "step"}
        second, _ = tg.optimizer_step(optimizer.name, first, grads, state, backend=name, **settings)
        assert state["w"]["step"] == 1
        for key, value in kept.items():
            np.testing.assert_array_equal(state["w"][key], value)
        assert not np.shares_memory(first["w"], params["w"])
        assert not np.shares_memory(first["w"], second["w"])
        # A parameter without a gradient neither decays nor gets a state.
        np.testing.assert_array_equal(second["frozen"], params["frozen"])
        assert "frozen" not in state


def test_maximize_is_minimize_of_the_negative(optimizer: OptimizerSpec, dtype: str) -> None:
    weight, grad = (np.random.default_rng(n).standard_normal(SHAPE).astype(dtype) for n in (1, 2))
    for name in options().backends:
        up, _ = tg.optimizer_step(optimizer.name, weight, grad, backend=name, maximize=True)
        down, _ = tg.optimizer_step(optimizer.name, weight, -grad, backend=name)
        np.testing.assert_array_equal(up, down)
