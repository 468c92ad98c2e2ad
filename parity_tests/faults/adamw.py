"""Wrong kernels of adamw that the laws must catch."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.backends.numpy_backend import adamw
from twingrad.core.spec import Array, Arrays
from twingrad.parity_tests.faults.table import fault


@fault("adamw", "step", called="an extra step")
def with_an_extra_step(
    weight: Array, grad: Array, state: Arrays, step: int, **settings: Any
) -> tuple[str, ...]:
    """A plain gradient step is taken on top."""
    used = adamw.step(weight, grad, state, step, **settings)
    weight -= settings["lr"] * grad
    return used


@fault("adamw", "step", called="stale moments")
def with_stale_moments(
    weight: Array, grad: Array, state: Arrays, step: int, **settings: Any
) -> tuple[str, ...]:
    """The weight moves by the moments of the step before."""
    stale, before = weight.copy(), {name: array.copy() for name, array in state.items()}
    adamw.step(stale, np.zeros_like(grad), before, step, **settings)
    used = adamw.step(weight, grad, state, step, **settings)
    weight[...] = stale
    return used


@fault("adamw", "step", called="decay ignored")
def without_decay(
    weight: Array, grad: Array, state: Arrays, step: int, **settings: Any
) -> tuple[str, ...]:
    """weight_decay is taken and never used."""
    return adamw.step(weight, grad, state, step, **{**settings, "weight_decay": 0.0})


@fault("adamw", "step", called="eps inside")
def with_eps_inside(
    weight: Array, grad: Array, state: Arrays, step: int, **settings: Any
) -> tuple[str, ...]:
    """eps is added before the second moment's bias is corrected."""
    scale = np.sqrt(1 - settings["betas"][1] ** step)
    return adamw.step(weight, grad, state, step, **{**settings, "eps": settings["eps"] / scale})


@fault("adamw", "step", breaks=("without eps the first step is lr",))
def without_bias_correction(
    weight: Array, grad: Array, state: Arrays, step: int, **chosen: Any
) -> tuple[str, ...]:
    """As if the first step were the thousandth."""
    return adamw.step(weight, grad, state, 1000, **chosen)


@fault("adamw", "step", breaks=("amsgrad keeps the largest, bit for bit",))
def that_forgets_the_largest(
    weight: Array, grad: Array, state: Arrays, step: int, **chosen: Any
) -> tuple[str, ...]:
    """amsgrad's maximum is that of the last two steps."""
    state["max_exp_avg_sq"][...] = state["exp_avg_sq"]
    return adamw.step(weight, grad, state, step, **chosen)


@fault("adamw", "step", breaks=("decay alone is geometric",))
def with_decay_in_the_gradient(
    weight: Array, grad: Array, state: Arrays, step: int, **chosen: Any
) -> tuple[str, ...]:
    """Adam with L2 regularisation, as it was before decay was decoupled."""
    decay = chosen.pop("weight_decay")
    return adamw.step(weight, grad + decay * weight, state, step, weight_decay=0.0, **chosen)
