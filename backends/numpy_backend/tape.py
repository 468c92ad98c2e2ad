"""The tape: each result remembers which layer made it, so that the gradients find their way.

A layer is a pair of pure functions on arrays. Applying one records a node, numbered in the order
of execution; the way back visits the nodes from the last to the first, so a layer or a tensor that
was used twice has all its gradients added up before they travel on.
"""

from __future__ import annotations

import heapq
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from twingrad.backends.numpy_backend.dispatch import compute_gradients
from twingrad.core.errors import GradientError
from twingrad.core.spec import Array, LayerSpec

if TYPE_CHECKING:
    from twingrad.backends.numpy_backend.tensor import Tensor as Leaf

recording: ContextVar[bool] = ContextVar("recording", default=True)
_order = count()


@contextmanager
def no_grad() -> Iterator[None]:
    """Record nothing inside this context."""
    token = recording.set(False)
    try:
        yield
    finally:
        recording.reset(token)


class Node:
    """A step on the tape: where what it used came from, and so where the gradients go.

    That is a leaf, or the node of an intermediate result, whose values are kept by nobody who does
    not need them.
    """

    __slots__ = ("name", "order", "parents", "requires_grad", "retained", "version", "versions")

    def __init__(self, name: str, tensors: tuple[Leaf | None, ...]) -> None:
        parents = tuple([None if x is None else x._node or x for x in tensors])
        self.name = name
        self.parents: tuple[Node | Leaf | None, ...] | None = parents
        self.versions = [-1 if parent is None else parent.version for parent in parents]
        self.version: int = 0  # of its result: how often that was changed in place
        self.requires_grad = True
        self.order = next(_order)
        self.retained: weakref.ref[Leaf] | None = None

    def gradients(
        self, grad_y: Array, retain_graph: bool
    ) -> tuple[tuple[Node | Leaf | None, ...], Sequence[Array | None]]:
        """Return the parents and a gradient for each, or None."""
        parents = self.parents
        if parents is None:
            raise GradientError(
                f"backward: the tape behind this value was freed by an earlier backward() "
                f"({self.name}); call the first one with retain_graph=True to go twice"
            )
        if [-1 if parent is None else parent.version for parent in parents] != self.versions:
            raise GradientError(
                f"backward: an input of {self.name} was changed in place after the "
                f"forward pass; call backward() before the optimizer's step()"
            )
        grads = self.compute(grad_y)
        if not retain_graph:
            self.parents = None
            self.forget()
        return parents, grads

    def compute(self, grad_y: Array) -> Sequence[Array | None]:
        """Return a gradient for each parent, or None."""
        raise NotImplementedError

    def forget(self) -> None:
        """Let go of all that only compute() needs."""
        raise NotImplementedError


class Applied(Node):
    """One application of a layer."""

    __slots__ = ("saved", "spec")

    def __init__(self, spec: LayerSpec, saved: Any, tensors: tuple[Leaf | None, ...]) -> None:
        super().__init__(spec.name, tensors)
        self.spec = spec
        self.saved = saved

    def compute(self, grad_y: Array) -> Sequence[Array | None]:
        return compute_gradients(self.spec, grad_y, self.saved)

    def forget(self) -> None:
        self.saved = None


def walk(value: Leaf, upstream: Array, retain_graph: bool) -> None:
    """Add the gradient of a value to .grad of every leaf that it was computed from."""
    grads: dict[Node, Array] = {}
    waiting: list[tuple[int, Node]] = []
    reached: set[Leaf] = set()  # leaves whose .grad is an array of this pass

    def deliver(to: Node | Leaf, grad: Array, among: Sequence[Array | None]) -> None:
        if not isinstance(to, Node):
            to._add_grad(grad, among, to in reached)
            reached.add(to)
        elif to in grads:
            grads[to] = grads[to] + grad
        else:
            grads[to] = grad
            heapq.heappush(waiting, (-to.order, to))

    with np.errstate(all="ignore"):
        deliver(value._node or value, upstream, (upstream, upstream))
        while waiting:
            _, node = heapq.heappop(waiting)
            grad_y = grads.pop(node)
            retained = node.retained() if node.retained else None
            if retained is not None:
                retained._add_grad(grad_y, (grad_y, grad_y), False)
            parents, new = node.gradients(grad_y, retain_graph)
            among = (grad_y, *new)
            for parent, grad in zip(parents, new, strict=True):
                if grad is not None and parent is not None and parent.requires_grad:
                    deliver(parent, grad, among)
