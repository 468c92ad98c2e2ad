"""AdamW: weight -= lr / (1 - beta1^step) * exp_avg / (root + eps), after decaying the weight."""

import math

import numpy as np

from twingrad.core.spec import Array, Arrays


def step(
    weight: Array,
    grad: Array,
    state: Arrays,
    step: int,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    amsgrad: bool,
    maximize: bool,
) -> tuple[Array, Arrays]:
    """Return the new weight and state after step number `step`, which counts from 1."""
    beta1, beta2 = betas
    grad = -grad if maximize else grad
    change = grad - state["exp_avg"]
    # From the end that is nearer, so that a large old mean cannot swallow the new gradient.
    exp_avg = state["exp_avg"] + (1 - beta1) * change if beta1 > 0.5 else grad - beta1 * change
    exp_avg_sq = beta2 * state["exp_avg_sq"] + (1 - beta2) * grad * grad
    new_state = {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
    second = exp_avg_sq
    if amsgrad:
        second = new_state["max_exp_avg_sq"] = np.maximum(state["max_exp_avg_sq"], exp_avg_sq)
    root = np.sqrt(second)
    root /= math.sqrt(1 - beta2**step)
    root += eps
    update = exp_avg / root
    update *= lr / (1 - beta1**step)
    return (1 - lr * weight_decay) * weight - update, new_state
