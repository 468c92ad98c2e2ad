"""Recomputation: a part of a model that keeps only its inputs, and runs again on the way back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twingrad.backends.numpy_backend.tape import Node, no_grad, recording
from twingrad.backends.numpy_backend.tensor import Tensor
from twingrad.core.spec import Array


class Repeated(Node):
    """A part of a model that is run again on the way back, since nothing of it was kept."""

    __slots__ = ("function", "inputs")

    def __init__(
        self,
        function: Callable[..., Tensor],
        inputs: tuple[Any, ...],
        parameters: tuple[Tensor, ...],
    ) -> None:
        tensors = tuple(x for x in inputs if type(x) is Tensor)
        super().__init__("recompute", (*tensors, *parameters))
        self.function = function
        self.inputs = inputs

    def compute(self, grad_y: Array) -> Sequence[Array | None]:
        leaves = [Tensor(x.data, x.requires_grad) if type(x) is Tensor else x for x in self.inputs]
        token = recording.set(True)
        try:
            self.function(*leaves).backward(grad_y)
        finally:
            recording.reset(token)
        tensors = [leaf for leaf in leaves if type(leaf) is Tensor]
        grads = [None if x._grad is None else x._grad.data for x in tensors]
        # The parameters have theirs already.
        return [*grads, *[None] * (len(self.versions) - len(grads))]

    def forget(self) -> None:
        self.inputs = ()


def recompute(
    function: Callable[..., Tensor], inputs: tuple[Any, ...], parameters: tuple[Tensor, ...]
) -> Tensor:
    """Run a function of tensors and parameters, and keep only its inputs for the way back."""
    with no_grad():
        y = function(*inputs)
    node = Repeated(function, inputs, parameters)
    if not (recording.get() and any(x is not None and x.requires_grad for x in node.parents or ())):
        return y
    return Tensor(y.data, True, node)
