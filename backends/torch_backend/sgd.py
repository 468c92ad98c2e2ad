"""SGD: weight -= lr * update, where the update is the gradient, with momentum a running sum."""

from torch import Tensor
from torch.optim.sgd import sgd

from twingrad.core.spec import Settings


def step(
    weights: list[Tensor],
    grads: list[Tensor],
    states: dict[str, list[Tensor]],
    steps: list[Tensor],
    settings: Settings,
) -> None:
    """Take one step in place; `steps` counts the steps before this one and is advanced."""
    # torch starts a buffer where it finds None: with the gradient itself, undamped.
    buffers: list[Tensor | None] = [
        buffer if count else None
        for buffer, count in zip(states["momentum_buffer"], steps, strict=True)
    ]
    sgd(weights, grads, buffers, has_sparse_grad=False, foreach=False, **settings)
    states["momentum_buffer"] = [
        old if new is None else new
        for old, new in zip(states["momentum_buffer"], buffers, strict=True)
    ]
    for count in steps:
        count += 1
