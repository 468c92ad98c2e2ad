"""A layer in plain torch, whatever the layer: forward, and backward by autograd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from twingrad.benchmarks.layer_work import LayerWork, take_gradients
from twingrad.benchmarks.measure import Call


def call(layer: Callable[..., Any], work: LayerWork) -> Call:
    """Return what runs the layer, and its backward if that is asked.

    It returns y, or the gradients of the inputs that get one.
    """
    tensors = {
        name: torch.from_numpy(array).requires_grad_(name in work.leaves)
        for name, array in work.draw_inputs().items()
    }
    forward = partial(layer, *map(tensors.get, work.spec.inputs), **work.variant.settings)
    if not work.backward:
        return forward
    grad_y = torch.from_numpy(work.draw_grad_y())

    def forward_backward() -> Sequence[Any]:
        forward().backward(grad_y)
        return take_gradients([tensors[name] for name in work.leaves])

    return forward_backward
