"""SGD: weight -= lr * update, where the update is the gradient, with momentum a running sum."""

import numpy as np

from twingrad.core.spec import Array, Arrays


def step(
    weight: Array,
    grad: Array,
    state: Arrays,
    step: int,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    nesterov: bool,
    weight_decay: float,
    maximize: bool,
) -> tuple[str, ...]:
    """Change weight and state in place by step number `step`, which counts from 1.

    Returns which arrays of the state were used.
    """
    grad = -grad if maximize else grad
    if weight_decay:
        grad = grad + weight_decay * weight
    if not momentum:
        weight -= lr * grad
        return ()
    buffer = state["momentum_buffer"]
    if step == 1:
        np.copyto(buffer, grad)
    else:
        buffer *= momentum
        buffer += (1 - dampening) * grad
    weight -= lr * (grad + momentum * buffer if nesterov else buffer)
    return ("momentum_buffer",)
