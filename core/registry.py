"""Which backends there are, which of them are loaded, and whose a tensor is."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from twingrad.core.contract import Backend
from twingrad.core.errors import BackendError, MissingPackageError, UnknownNameError
from twingrad.core.foreign import ForeignBackend, said, shown

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "twingrad.backends"  # of the entry points with which other packages bring backends


@dataclass(frozen=True)
class OwnBackend:
    """A backend that comes with twingrad: its package, and the distribution that it needs."""

    package: str
    needs: str | None


OWN: dict[str, OwnBackend] = {}  # those that come with twingrad; the first one is the default

_loaded: dict[str, Backend] = {}
_no_grad_contexts: ContextVar[ExitStack | None] = ContextVar("no_grad_contexts", default=None)


def default_backend() -> str:
    """Return the backend to use when none is named: TWINGRAD_BACKEND, else the first of our own."""
    return os.environ.get("TWINGRAD_BACKEND") or next(iter(OWN))


def backends() -> dict[str, str]:
    """Return each backend's name with "available", or with the reason why it is not.

    Those of other packages are imported to know. Raises BackendError if one takes a name that
    another one has.
    """
    return {name: missing(name) or "available" for name in (*OWN, *registered())}


def missing(name: str) -> str | None:
    """Return why the backend called `name` cannot be loaded, or None if it can."""
    if name not in OWN:
        try:
            load_backend(name)
        except BackendError as error:
            return str(error).removeprefix(f"backend {name!r}: ")
        return None
    needed = OWN[name].needs
    if needed is None or find_spec(needed) is not None:
        return None
    return f"{needed} is not installed; install it with: pip install 'twingrad[{needed}]'"


@cache
def registered() -> dict[str, EntryPoint]:
    """Return the entry point of each backend that another package brings.

    Read once, and only when asked for. Raises BackendError for a name that is taken.
    """
    from importlib.metadata import entry_points

    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        if entry.name in OWN:
            raise BackendError(
                f"backend {entry.name!r} is twingrad's own and cannot be replaced: "
                f"{_package(entry)} must register {entry.value} under another name"
            )
        if entry.name in found:
            raise BackendError(
                f"backend {entry.name!r} is registered twice, by {_package(found[entry.name])} "
                f"and by {_package(entry)}: uninstall one of them"
            )
        found[entry.name] = entry
    return found


def load_backend(name: str) -> Backend:
    """Return the backend called `name`, imported the first time that it is asked for.

    One of another package comes with checks around it, and raises BackendError for each method
    of a Backend that it lacks.

    Raises UnknownNameError for a name that no backend has, MissingPackageError if it is not
    installed.
    """
    backend = _loaded.get(name)
    if backend is not None:
        return backend
    if name not in OWN:
        if name not in registered():
            raise UnknownNameError("backend", name, [*OWN, *registered()])
        loaded = cast(Backend, ForeignBackend(name, _imported(registered()[name])))
    else:
        reason = missing(name)
        if reason is not None:
            raise MissingPackageError(f"backend {name!r}: {reason}")
        loaded = import_module(OWN[name].package).backend
    _loaded[name] = loaded
    contexts = _no_grad_contexts.get()
    if contexts is not None:
        contexts.enter_context(loaded.no_grad())
    return loaded


def _imported(entry: EntryPoint) -> Any:
    """Return what an entry point names, after a look at whether it can be a backend."""
    where = f"backend {entry.name!r}: {entry.value} (of {_package(entry)})"
    try:
        backend = entry.load()
    except Exception as error:
        raise BackendError(f"{where} cannot be imported: {said(error)}") from error
    if inspect.isclass(backend):
        raise BackendError(f"{where} is a class; the entry point must name an instance of it")
    lacks = [name for name in ("forward", "vjp") if not callable(getattr(backend, name, None))]
    if lacks:
        raise BackendError(f"{where} must have the methods forward and vjp; it has no {lacks[0]}")
    if getattr(backend, "name", None) != entry.name:
        own = shown(getattr(backend, "name", None))
        raise BackendError(f"{where} must have the name {entry.name!r}; its `name` is {own}")
    return backend


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "an unknown package"


def owner(value: object) -> Backend | None:
    """Return the loaded backend whose tensor `value` is, or None for anything else."""
    for backend in _loaded.values():
        if isinstance(value, backend.tensor_type):
            return backend
    return None


def backend_of(what: str, values: Mapping[str, Any]) -> Backend:
    """Return the one backend that the tensors among `values` belong to.

    Raises BackendError if there is no tensor, or if tensors of two backends meet.
    """
    found: tuple[str, Backend] | None = None
    for name, value in values.items():
        backend = owner(value)
        if backend is None:
            continue
        if found is not None and backend is not found[1]:
            raise BackendError(
                f"{what}: {found[0]} is a {found[1].name} tensor, so {name} must be one too; "
                f"got a {backend.name} tensor (twingrad.convert moves a model)"
            )
        found = found or (name, backend)
    if found is None:
        raise BackendError(
            f"{what}: no input is a tensor, so there is no backend to run on; build the model, "
            f"or make a tensor with twingrad.tensor(array, backend=...)"
        )
    return found[1]


@contextmanager
def no_grad() -> Iterator[None]:
    """Record nothing for backward() inside this context, on any backend."""
    with ExitStack() as contexts:
        for backend in list(_loaded.values()):
            contexts.enter_context(backend.no_grad())
        if _no_grad_contexts.get() is not None:
            yield  # a backend that is loaded in here belongs to the outermost context
            return
        token = _no_grad_contexts.set(contexts)
        try:
            yield
        finally:
            _no_grad_contexts.reset(token)
