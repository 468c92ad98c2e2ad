"""The handwritten kernels by name, each read off its page when it is first needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from twingrad.backends.numpy_backend.operations import OPERATIONS
from twingrad.core.catalogue import page
from twingrad.core.errors import BackendError
from twingrad.core.spec import Array

ROOM = "numpy"  # of the pages of other packages
Step = Callable[..., tuple[str, ...]]


class Kernel(NamedTuple):
    """A layer's two handwritten passes."""

    forward: Callable[..., tuple[Array, Any]]
    backward: Callable[[Array, Any], tuple[Array | None, ...]]
    # Where some gradients can be left out: which of what forward saved the wanted ones need.
    spared: Callable[[Any, tuple[bool, ...]], Any] | None = None


class Kernels(dict[str, Kernel]):
    """Of each layer and operation that was used so far its kernel."""

    def __missing__(self, name: str) -> Kernel:
        if name in OPERATIONS:
            self[name] = Kernel(*OPERATIONS[name])
        else:
            page = page_of(name)
            self[name] = Kernel(page.forward, page.backward, getattr(page, "spared", None))
        return self[name]


class Steps(dict[str, Step]):
    """Of each optimizer that was used so far its step."""

    def __missing__(self, name: str) -> Step:
        self[name] = page_of(name).step
        return self[name]


def page_of(name: str) -> Any:
    """Return the page of a layer or an optimizer. Raises BackendError if there is none."""
    found = page(name, ROOM, __package__)
    if found is None:
        raise BackendError(
            f"backend 'numpy' has no page for {name}: register it with pages={{'numpy': ...}}"
        )
    return found


KERNELS = Kernels()
OPTIMIZERS = Steps()
