"""What the core asks of a backend, and how one is found."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from textwrap import shorten
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, cast

import numpy as np

from twingrad.core.arguments import (
    FLOATS,
    check_indices,
    check_signature,
    explain,
    full_settings,
    nan_label,
)
from twingrad.core.errors import BackendError, ShapeError, TwingradError, UnknownNameError
from twingrad.core.layers import LAYERS
from twingrad.core.optimizers import OPTIMIZERS
from twingrad.core.shapes import Shape, bind
from twingrad.core.spec import Array, Arrays, LayerSpec, OptimizerSpec, Settings

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from twingrad.core.module import Module
    from twingrad.core.random import Draws

Tensor = Any  # a backend's own tensor: twingrad's on NumPy, torch.Tensor on torch
States = dict[str, dict[str, Any]]  # of each parameter: "step" and the optimizer's arrays


class LayerBackend(Protocol):
    """Computes layers on NumPy arrays: what the laws need, and what another package must bring.

    It may bring `optimizer_step`, as in Backend, and `supports(name, dtype) -> bool`; without
    `supports` it is asked for every layer. See docs/backends.md.
    """

    name: str

    def forward(self, spec: LayerSpec, inputs: Arrays, settings: Settings) -> Array:
        """Return the layer's output."""
        ...

    def vjp(
        self, spec: LayerSpec, inputs: Arrays, grad_y: Callable[[Array], Array], settings: Settings
    ) -> tuple[Array, Arrays]:
        """Return y, and the gradient of sum(grad_y(y) * y) for each differentiable input."""
        ...


class Backend(LayerBackend, Protocol):
    """Computes optimizers, too, and holds the tensors of a model."""

    tensor_type: type

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

    def constant(self, array: Array, like: Tensor) -> Tensor:
        """Return an array as a tensor that gets no gradient, of the dtype and device of `like`."""
        ...

    def recompute(
        self,
        function: Callable[..., Tensor],
        inputs: tuple[Any, ...],
        parameters: tuple[Tensor, ...],
    ) -> Tensor:
        """Return function(*inputs); only inputs and parameters are kept until backward()."""
        ...

    def autocast(self, model: Any, dtype: str) -> AbstractContextManager[Any]:
        """Return a context in which products are computed in a narrower dtype, if it is one."""
        ...

    def compiled(self, model: Any) -> Callable[..., Any]:
        """Return the model, compiled where the backend can. Raises BackendError where not."""
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

    def updater(
        self, spec: OptimizerSpec
    ) -> Callable[[Sequence[Tensor], dict[Tensor, dict[str, Any]], Settings], None]:
        """Return what takes an optimizer's steps in place: update(params, state, settings).

        It changes the parameters that have a gradient, and their entries in `state`. One is asked
        for each group of parameters, so it may lay out their memory.
        """
        ...

    def optimizer_state(self, param: Tensor, step: int, arrays: Arrays) -> dict[str, Any]:
        """Return an entry for `state` that goes on after `step` steps with these arrays."""
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

GROUP = "twingrad.backends"  # of the entry points with which other packages bring backends

_loaded: dict[str, Backend] = {}
_no_grad_contexts: ContextVar[ExitStack | None] = ContextVar("no_grad_contexts", default=None)


def backends() -> dict[str, str]:
    """Return each backend's name with "available", or with the reason why it is not.

    Those of other packages are imported to know. Raises BackendError if one takes a name that
    another one has.
    """
    return {name: missing(name) or "available" for name in (*BACKENDS, *registered())}


def missing(name: str) -> str | None:
    """Return why the backend called `name` cannot be loaded, or None if it can."""
    if name not in BACKENDS:
        try:
            load_backend(name)
        except BackendError as error:
            return str(error).removeprefix(f"backend {name!r}: ")
        return None
    needed = BACKENDS[name][1]
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
        if entry.name in BACKENDS:
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
    of a Backend that it has not.

    Raises UnknownNameError for a name that no backend has, BackendError if it is not installed.
    """
    backend = _loaded.get(name)
    if backend is not None:
        return backend
    if name not in BACKENDS:
        if name not in registered():
            raise UnknownNameError("backend", name, [*BACKENDS, *registered()])
        loaded = cast(Backend, ForeignBackend(name, _imported(registered()[name])))
    else:
        reason = missing(name)
        if reason is not None:
            raise BackendError(f"backend {name!r}: {reason}")
        loaded = import_module(BACKENDS[name][0]).backend
    _loaded[name] = loaded
    contexts = _no_grad_contexts.get()
    if contexts is not None:
        contexts.enter_context(loaded.no_grad())
    return loaded


def supports(backend: LayerBackend, name: str, dtype: str) -> bool:
    """Return whether `backend` has the layer, operation or optimizer called `name` for a dtype.

    Raises BackendError if the backend's own `supports` cannot tell.
    """
    inner: Any = backend.inner if isinstance(backend, ForeignBackend) else backend
    if name in OPTIMIZERS and not hasattr(inner, "optimizer_step"):
        return False
    if not hasattr(inner, "supports"):
        return True
    must = f"backend {backend.name!r}: supports({name!r}, {dtype!r}) must return True or False"
    try:
        answer = inner.supports(name, dtype)
    except Exception as error:
        raise BackendError(f"{must}; got {_said(error)}") from error
    if not isinstance(answer, bool | np.bool_):
        raise BackendError(f"{must}; got {_shown(answer)}")
    return bool(answer)


class NoTensor:
    """The tensor type of a backend without tensors: nothing is one."""


class ForeignBackend:
    """A backend of another package, `inner`, between checks of what goes in and what comes out.

    Bad arguments raise what they raise on numpy and torch. A bad result raises BackendError, with
    a message for the author of the backend.
    """

    def __init__(self, name: str, inner: Any) -> None:
        self.name = name
        self.inner = inner
        self.tensor_type: type = getattr(inner, "tensor_type", NoTensor)

    def __getattr__(self, attribute: str) -> Any:
        if attribute not in vars(Backend):
            raise AttributeError(f"{type(self).__name__} has no attribute {attribute!r}")
        if not hasattr(self.inner, attribute):
            raise BackendError(
                f"backend {self.name!r} computes layers, but holds no models: it has no "
                f"`{attribute}`; build the model on numpy or torch"
            )
        return getattr(self.inner, attribute)

    def no_grad(self) -> AbstractContextManager[Any]:
        return self.inner.no_grad() if hasattr(self.inner, "no_grad") else nullcontext()

    def forward(self, spec: LayerSpec, inputs: Arrays, settings: Settings) -> Array:
        full = full_settings(spec, settings)
        call, shape = self._checked("forward", spec, inputs, full)
        return call.array("y", call.result(inputs, full), shape)

    def vjp(
        self, spec: LayerSpec, inputs: Arrays, grad_y: Callable[[Array], Array], settings: Settings
    ) -> tuple[Array, Arrays]:
        full = full_settings(spec, settings)
        call, shape = self._checked("vjp", spec, inputs, full)
        result = call.result(inputs, lambda y: grad_y(call.array("y", y, shape)), full)
        y, grads = call.pair("(y, {input: gradient})", result)
        wanted = list(inputs) if spec.variadic else [x for x in spec.differentiable if x in inputs]
        for name in (*wanted, *grads):
            if name not in grads or name not in wanted:
                got = f"one for {name!r}, too" if name in grads else f"none for {name}"
                call.refuse(f"return a gradient for each of {', '.join(wanted)}", got)
        return call.array("y", y, shape), {
            name: call.array(f"grad_{name}", grads[name], inputs[name].shape) for name in wanted
        }

    def optimizer_step(
        self, spec: OptimizerSpec, params: Arrays, grads: Arrays, states: States, settings: Settings
    ) -> tuple[Arrays, States]:
        full = full_settings(spec, settings)
        calls = {key: self._call("optimizer_step", spec, x.dtype) for key, x in params.items()}
        if not calls:
            return {}, {}
        call = next(iter(calls.values()))
        result = call.result(params, grads, states, full)
        new, new_states = call.pair("({name: parameter}, {name: state})", result)
        if not isinstance(new, Mapping) or new.keys() != params.keys():
            call.refuse(f"return a parameter for each of {', '.join(params)}", _shown(new))
        if not grads.keys() <= new_states.keys():
            call.refuse(f"return a state for each of {', '.join(grads)}", _shown(new_states))
        checked: States = dict(new_states)
        for key in grads:
            given = new_states[key]
            state = dict(given) if isinstance(given, Mapping) else {}
            step = state.pop("step", None)
            if not isinstance(step, int) or not {*state} <= {*spec.state}:
                arrays = ", ".join(spec.state)
                must = f"return a state of an int 'step' and what it needs of {arrays}"
                call.refuse(must, f"{_shown(given)} for {key}")
            checked[key] = {"step": step} | {
                name: calls[key].array(f"{name} of {key}", array, params[key].shape)
                for name, array in state.items()
            }
        return {
            key: calls[key].array(f"parameter {key}", new[key], params[key].shape) for key in params
        }, checked

    def _checked(
        self, method: str, spec: LayerSpec, inputs: Arrays, settings: Settings
    ) -> tuple[ForeignCall, Shape]:
        """Make every check that the spec asks for; return the call to make and the shape of y."""
        shapes = {name: x.shape for name, x in inputs.items()}
        check_signature(
            spec.name, tuple((name, x.shape, x.dtype.name) for name, x in inputs.items())
        )
        if spec.indices:
            check_indices(spec, inputs, settings)
        for name in spec.labels:
            if name in inputs and np.isnan(inputs[name]).any():
                raise nan_label(spec, name, np.argwhere(np.isnan(inputs[name]))[0])
        shape = _output_shape(spec, shapes, settings)
        dtype = next(x.dtype for x in inputs.values() if x.dtype.name in FLOATS)
        return self._call(method, spec, dtype), shape

    def _call(
        self, method: str, spec: LayerSpec | OptimizerSpec, dtype: np.dtype[Any]
    ) -> ForeignCall:
        if not supports(self, spec.name, dtype.name):
            raise BackendError(f"backend {self.name!r} does not support {spec.name} in {dtype}")
        return ForeignCall(self, method, spec, dtype)


@dataclass(frozen=True, slots=True)
class ForeignCall:
    """One call of a method of a foreign backend, and what its result must look like."""

    backend: ForeignBackend
    method: str
    spec: LayerSpec | OptimizerSpec
    dtype: np.dtype[Any]

    def result(self, *arguments: Any) -> Any:
        """Return what the method returns."""
        try:
            return getattr(self.backend.inner, self.method)(self.spec, *arguments)
        except TwingradError:
            raise
        except Exception as error:
            self.refuse("return without an error", _said(error), error)

    def pair(self, form: str, result: Any) -> tuple[Any, Mapping[str, Any]]:
        """Return a result that has the form of a pair, the second part a dict."""
        is_pair = isinstance(result, tuple) and len(result) == 2
        if not is_pair or not isinstance(result[1], Mapping):
            self.refuse(f"return {form}", _shown(result))
        return result[0], result[1]

    def array(self, what: str, value: Any, shape: Shape) -> Array:
        """Return one part of a result as a NumPy array of this shape and the call's dtype."""
        must = f"return {what} as an array of shape {shape} and dtype {self.dtype}"
        try:
            # What is an array already is not copied: the laws look at whose memory it is.
            array = value if type(value) is np.ndarray else np.array(value)
        except Exception as error:
            self.refuse(must, f"{_shown(value)} ({_said(error)})", error)
        if array.dtype.hasobject:
            self.refuse(must, _shown(value))
        if array.shape != shape:
            self.refuse(must, f"shape {array.shape}")
        if array.dtype != self.dtype:
            self.refuse(must, f"dtype {array.dtype}")
        return array

    def refuse(self, must: str, got: str, cause: Exception | None = None) -> NoReturn:
        """Raise the error that tells the author what the method must do, and what it did."""
        raise BackendError(
            f"backend {self.backend.name!r}: {self.method} of {self.spec.name} must {must}; got "
            f"{got}: mend it, or return False from supports({self.spec.name!r}, "
            f"{self.dtype.name!r})"
        ) from cause


def _imported(entry: EntryPoint) -> Any:
    """Return what an entry point names, after a look at whether it can be a backend."""
    where = f"backend {entry.name!r}: {entry.value} (of {_package(entry)})"
    try:
        backend = entry.load()
    except Exception as error:
        raise BackendError(f"{where} cannot be imported: {_said(error)}") from error
    if inspect.isclass(backend):
        raise BackendError(f"{where} is a class; the entry point must name an instance of it")
    lacks = [name for name in ("forward", "vjp") if not callable(getattr(backend, name, None))]
    if lacks:
        raise BackendError(f"{where} must have the methods forward and vjp; it has no {lacks[0]}")
    if getattr(backend, "name", None) != entry.name:
        own = _shown(getattr(backend, "name", None))
        raise BackendError(f"{where} must have the name {entry.name!r}; its `name` is {own}")
    return backend


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "an unknown package"


def _output_shape(spec: LayerSpec, shapes: Mapping[str, Shape], settings: Settings) -> Shape:
    """Return the shape of y. Raises ShapeError for an operation that does not fit its inputs."""
    if spec.name in LAYERS:
        lengths = bind(spec, shapes)
        if spec.output.endswith(" or scalar"):
            return lengths["..."] if settings["reduction"] == "none" else ()
        return tuple(length for dim in spec.output.split() for length in lengths[dim])
    reason = explain(spec, shapes, settings)
    if reason is not None:
        raise ShapeError(reason)
    with np.errstate(all="ignore"):
        return spec.definition(*map(np.zeros, shapes.values()), **settings).shape


def _said(error: Exception) -> str:
    return shorten(f"{type(error).__name__}: {error}", 300, placeholder=" ...")


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {shorten(repr(value), 60, placeholder=' ...')}"


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
