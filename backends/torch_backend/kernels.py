"""The kernels in PyTorch by name, each read off its page when it is first needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from twingrad.backends.torch_backend.operations import OPERATIONS
from twingrad.core.catalogue import page
from twingrad.core.errors import BackendError

ROOM = "torch"  # of the pages of other packages
Forward = Callable[..., Tensor]
Step = Callable[..., None]


class Kernels(dict[str, Forward]):
    """Of each layer and operation that was used so far its forward."""

    def __missing__(self, name: str) -> Forward:
        self[name] = OPERATIONS[name] if name in OPERATIONS else page_of(name).forward
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
            f"backend 'torch' has no page for {name}: register it with pages={{'torch': ...}}"
        )
    return found


KERNELS = Kernels()
OPTIMIZERS = Steps()
