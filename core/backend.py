"""What the core asks of a backend, and how one is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from twingrad.core.errors import BackendError, UnknownNameError
from twingrad.core.spec import Array, Arrays, LayerSpec, OptimizerSpec, Settings

if TYPE_CHECKING:
    from twingrad.core.module import Module
    from twingrad.core.random import Draws

Tensor = Any  # a backend's own tensor: twingrad's on NumPy, torch.Tensor on torch
States = dict[str, dict[str, Any]]  # of each parameter: "step" and the optimizer's arrays


class Backend(Protocol):
    """Computes layers and optimizers, and holds the tensors of a model.

    The first three methods take and return NumPy arrays and are all that the laws need; the
    others make models run. Arguments have been checked against the spec before.
    """

    name: str
    tensor_type: type

    def forward(self, spec: LayerSpec, inputs: Arrays, settings: Settings) -> Array:
        """Return the layer's output."""
        ...

    def vjp(
        self, spec: LayerSpec, inputs: Arrays, grad_y: Callable[[Array], Array], settings: Settings
    ) -> tuple[Array, Arrays]:
        """Return y, and the gradient of sum(grad_y(y) * y) for each differentiable input."""
        ...

    def optimizer_step(
        self, spec: OptimizerSpec, params: Arrays, grads: Arrays, states: States, settings: Settings
    ) -> tuple[Arrays, States]:
        """Return new parameters and states; the arguments stay as they are."""
        ...

    def apply(self, spec: LayerSpec, inputs: Mapping[str, Any], settings: Settings) -> Tensor:
        """Return the layer's output as a tensor that backward() goes through."""
        ...

    def concat(self, tensors: list[Tensor], axis: int) -> Tensor:
        """Return the tensors joined along `axis`."""
        ...

    def tensor(
        self, array: Array, *, requires_grad: bool = False, device: str | None = None
    ) -> Tensor:
        """Return a new tensor that holds a copy of `array`."""
        ...

    def to_numpy(self, tensor: Tensor) -> Array:
        """Return a copy of the tensor's values."""
        ...

    def assign(self, tensor: Tensor, values: Array) -> None:
        """Put new values into a parameter, in place."""
        ...

    def draw_keep(
        self, draws: Draws, x: Tensor, shape: tuple[int, ...], p: float, native: bool
    ) -> Any:
        """Return booleans that are False with probability p: from `draws`, or natively."""
        ...

    def identity_rows(self, key: Tensor) -> Tensor:
        """Return, for key (..., k, d), an identity matrix (..., k, k) of its dtype."""
        ...

    def build(
        self,
        module: Module,
        values: Mapping[int, Array],
        dtype: str,
        device: str | None,
        prepare: Callable[[Module, Any, str], None],
    ) -> Any:
        """Return `module` and all inside it with tensors for parameters.

        `values` gives each parameter's first values by the id of its recipe; `prepare` is called
        with the recipe, what was built from it, and its dotted name.
        """
        ...

    def update(
        self,
        spec: OptimizerSpec,
        params: list[Tensor],
        states: list[dict[str, Any]],
        settings: Settings,
    ) -> None:
        """Take one optimizer step in place, on parameters that all have a gradient."""
        ...

    def optimizer_state(self, param: Tensor, step: int, arrays: Arrays) -> dict[str, Any]:
        """Return a state for `update` that goes on after `step` steps with these arrays."""
        ...

    def detached(self, tensor: Tensor) -> Tensor:
        """Return a copy of an array of the optimizer's state: on NumPy an array."""
        ...

    def no_grad(self) -> AbstractContextManager[Any]:
        """Return a context in which nothing is recorded for backward()."""
        ...

    def clip_grad_norm(self, params: list[Tensor], max_norm: float) -> float:
        """Scale all gradients, in place, so that their joint norm is at most `max_norm`."""
        ...


# A backend's package, and the distribution it needs beside twingrad's own dependencies.
BACKENDS: dict[str, tuple[str, str | None]] = {
    "numpy": ("twingrad.backends.numpy_backend", None),
    "torch": ("twingrad.backends.torch_backend", "torch"),
}

_loaded: dict[str, Backend] = {}
_no_grad_contexts: ContextVar[ExitStack | None] = ContextVar("no_grad_contexts", default=None)


def backends() -> dict[str, str]:
    """Return each backend's name with "available", or with the reason why it is not."""
    return {name: missing(name) or "available" for name in BACKENDS}


def missing(name: str) -> str | None:
    """Return why the backend called `name` cannot be loaded, or None if it can."""
    needed = BACKENDS[name][1]
    if needed is None or find_spec(needed) is not None:
        return None
    return f"{needed} is not installed; install it with: pip install 'twingrad[{needed}]'"


def load_backend(name: str) -> Backend:
    """Return the backend called `name`, imported the first time that it is asked for.

    Raises UnknownNameError for a name that no backend has, BackendError if it is not installed.
    """
    backend = _loaded.get(name)
    if backend is not None:
        return backend
    if name not in BACKENDS:
        raise UnknownNameError("backend", name, BACKENDS)
    reason = missing(name)
    if reason is not None:
        raise BackendError(f"backend {name!r}: {reason}")
    loaded: Backend = import_module(BACKENDS[name][0]).backend
    _loaded[name] = loaded
    contexts = _no_grad_contexts.get()
    if contexts is not None:
        contexts.enter_context(loaded.no_grad())
    return loaded


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
