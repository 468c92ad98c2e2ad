"""SGD: weight -= lr * update, where the update is the gradient, with momentum a running sum."""

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
) -> tuple[Array, Arrays]:
    """Return the new weight and state after step number `step`, which counts from 1."""
    grad = -grad if maximize else grad
    if weight_decay:
        grad = grad + weight_decay * weight
    if not momentum:
        return weight - lr * grad, {}
    if step == 1:
        buffer = grad.copy()
    else:
        buffer = momentum * state["momentum_buffer"] + (1 - dampening) * grad
    update = grad + momentum * buffer if nesterov else buffer
    return weight - lr * update, {"momentum_buffer": buffer}
