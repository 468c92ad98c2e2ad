"""The faults that are planted: wrong kernels, each on the page of its layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, TypeVar

import pytest

from twingrad.backends.numpy_backend.kernels import KERNELS, OPTIMIZERS

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Fault:
    """A wrong kernel of a layer, operation or optimizer."""

    of: str
    which: str  # the pass that is replaced: forward or backward, or an optimizer's step
    wrong: Callable[..., Any]  # what replaces it
    called: str  # what a well-known one is called; "" for others
    breaks: tuple[str, ...]  # sentences of the laws that must see it, beside the bounds

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Put it where the NumPy backend looks for its kernels."""
        with pytest.MonkeyPatch.context() as patch:
            if self.which == "step":
                patch.setitem(OPTIMIZERS, self.of, self.wrong)
            else:
                wrong = KERNELS[self.of]._replace(**{self.which: self.wrong})
                patch.setitem(KERNELS, self.of, wrong)
            yield


_faults: list[Fault] = []


def fault(
    of: str, which: str, *, called: str = "", breaks: tuple[str, ...] = ()
) -> Callable[[F], F]:
    """Make a function a fault that is planted; for the arguments see Fault."""

    def register(wrong: F) -> F:
        _faults.append(Fault(of, which, wrong, called, breaks))
        return wrong

    return register


def faults() -> tuple[Fault, ...]:
    """Return the faults of all pages beside this one."""
    package = __name__.rpartition(".")[0]
    for module in iter_modules(import_module(package).__path__, f"{package}."):
        import_module(module.name)
    return tuple(_faults)


def well_known(kind: str) -> dict[str, Fault]:
    """Return the well-known faults, by what they are called: of a "layer" or an "optimizer"."""
    return {
        each.called: each
        for each in faults()
        if each.called and (each.which == "step") == (kind == "optimizer")
    }
