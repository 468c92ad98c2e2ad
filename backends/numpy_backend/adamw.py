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
) -> tuple[str, ...]:
    """Change weight and state in place by step number `step`, which counts from 1.

    Returns which arrays of the state were used.
    """
    beta1, beta2 = betas
    grad = -grad if maximize else grad
    exp_avg, exp_avg_sq = state["exp_avg"], state["exp_avg_sq"]
    change = grad - exp_avg
    # From the end that is nearer, so that a large old mean cannot swallow the new gradient.
    if beta1 > 0.5:
        change *= 1 - beta1
        exp_avg += change
    else:
        change *= beta1
        np.subtract(grad, change, out=exp_avg)
    square = np.multiply(grad, 1 - beta2, out=change)
    square *= grad
    exp_avg_sq *= beta2
    exp_avg_sq += square
    second = exp_avg_sq
    if amsgrad:
        second = state["max_exp_avg_sq"]
        np.maximum(second, exp_avg_sq, out=second)
    root = np.sqrt(second, out=square)
    root /= math.sqrt(1 - beta2**step)
    root += eps
    update = np.divide(exp_avg, root, out=root)
    update *= lr / (1 - beta1**step)
    weight *= 1 - lr * weight_decay
    weight -= update
    return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if amsgrad else ("exp_avg", "exp_avg_sq")
