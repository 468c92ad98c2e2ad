"""Laws of all optimizers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import twingrad as tg
from twingrad.core.optimizers.optimizer import Optimizer
from twingrad.core.registry import load_backend
from twingrad.core.spec import Array, Arrays, OptimizerSpec
from twingrad.parity_tests.laws.ball import Ball, agree, exactly, same
from twingrad.parity_tests.laws.drawn import Descent, descents
from twingrad.parity_tests.laws.table import Subject, law, told


def is_optimizer(spec: Subject) -> bool:
    """Whether it is an optimizer."""
    return isinstance(spec, OptimizerSpec)


def has_rate(spec: Subject) -> bool:
    """Whether it is an optimizer whose steps are as long as `lr` says."""
    return is_optimizer(spec) and "lr" in spec.settings


def decays(spec: Subject) -> bool:
    """Whether it is an optimizer whose weights decay."""
    return has_rate(spec) and "weight_decay" in spec.settings


def class_of(spec: OptimizerSpec) -> type[Optimizer]:
    """Return the class that takes an optimizer's steps: its own, or one made of its name alone."""
    known = {getattr(cls, "spec_name", ""): cls for cls in Optimizer.__subclasses__()}
    return known.get(spec.name) or type(spec.name, (Optimizer,), {"spec_name": spec.name})


def trajectory(descent: Descent, backend: str, **settings: Any) -> tuple[list[Array], list[Arrays]]:
    """Return weight and state after every step."""
    weight, state = descent.weight, None
    weights, states = [], []
    for grad in descent.grads:
        weight, state = tg.optimizer_step(
            descent.spec.name, weight, grad, state, backend=backend, **(descent.settings | settings)
        )
        weights.append(weight)
        states.append({name: np.asarray(value) for name, value in state["0"].items()})
    return weights, states


def same_path(backend: str, what: str, found: list[Array], expected: list[Array]) -> None:
    """Raise AssertionError unless two lists of weights are equal, step by step."""
    for number, (one, other) in enumerate(zip(found, expected, strict=True), start=1):
        same(backend, f"{what} after step {number}", one, other)


@law(has_rate, "lr 0 changes nothing", draws=descents, exact=True)
def no_rate_no_step(descent: Descent, backend: str) -> None:
    weights, _ = trajectory(descent, backend, lr=0.0)
    same_path(backend, "the weight with lr 0", weights, [descent.weight] * len(weights))


@law(is_optimizer, "negative weights and gradients mirror the path", draws=descents, exact=True)
def steps_are_antisymmetric(descent: Descent, backend: str) -> None:
    weights, _ = trajectory(descent, backend)
    mirrored, _ = trajectory(
        replace(descent, weight=-descent.weight, grads=-descent.grads), backend
    )
    expected = [-weight for weight in weights]
    same_path(backend, "the weight of negative weights and gradients", mirrored, expected)


@law(is_optimizer, "goes on from its state", draws=descents, exact=True, needs_tensors=True)
def an_optimizer_goes_on_from_its_state(descent: Descent, backend: str) -> None:
    """Saved and loaded after every step, or never: the same bits, and those of optimizer_step."""
    target = load_backend(backend)

    def start(weight: Array) -> tuple[Any, Any]:
        param = target.tensor(weight, requires_grad=True)
        return param, class_of(descent.spec)([param], **descent.settings)

    weights, states = trajectory(descent, backend)
    unbroken, optimizer = start(descent.weight)
    broken, saved = descent.weight, None
    for number, grad in enumerate(descent.grads):
        unbroken.grad = target.tensor(grad)
        optimizer.step()
        param, resumed = start(broken)
        if saved is not None:
            resumed.load_state_dict(saved)
        param.grad = target.tensor(grad)
        resumed.step()
        broken, saved = target.to_numpy(param), resumed.state_dict()
        for word, weight in (("unbroken", target.to_numpy(unbroken)), ("resumed", broken)):
            same(backend, f"the weight of an {word} run", weight, weights[number])
        for name, value in saved["state"][0].items():
            array = value if name == "step" else tg.to_numpy(value)
            expected = states[number].get(name, np.zeros_like(descent.weight))
            same(backend, f"{name} of a resumed run", np.asarray(array), expected)


@law(is_optimizer, "parameters do not meet", draws=descents, exact=True)
def parameters_do_not_meet(descent: Descent, backend: str) -> None:
    """Two parameters in one step move as each does alone."""
    twin = replace(descent, weight=2 * descent.weight + 1, grads=descent.grads[::-1])
    params, state = {"a": descent.weight, "b": twin.weight}, None
    alone = {"a": trajectory(descent, backend)[0], "b": trajectory(twin, backend)[0]}
    for number in range(len(descent.grads)):
        grads = {"a": descent.grads[number], "b": twin.grads[number]}
        params, state = tg.optimizer_step(
            descent.spec.name, params, grads, state, backend=backend, **descent.settings
        )
        for name in params:
            same(backend, f"the weight of {name} beside another", params[name], alone[name][number])


@law(decays, "decay alone is geometric", draws=descents)
def decay_alone(descent: Descent, backend: str) -> None:
    """Without gradients and momentum only the decay is left: weight * (1 - lr * decay)^t."""
    still = replace(descent, grads=np.zeros_like(descent.grads))
    weights, _ = trajectory(still, backend, **told(descent.spec.name, "WITHOUT_MEMORY", {}))
    rate = np.longdouble(descent.settings["lr"]) * np.longdouble(descent.settings["weight_decay"])
    for t, weight in enumerate(weights, start=1):
        expected = exactly(descent.weight.astype(np.float64)).value * (1 - rate) ** t
        # Each step rounds 1 - lr * decay, or lr, decay and their products, then the new weight.
        room = t * (2 + 4 * float(rate)) * np.finfo(weight.dtype).eps / 2 * np.abs(descent.weight)
        found = Ball(weight.astype(np.longdouble), room)
        agree(backend, f"the weight after {t} steps of decay", found, expected)
