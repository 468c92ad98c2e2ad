"""The wall around backends of other packages: what goes in is checked, and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from textwrap import shorten
from typing import Any, NoReturn

import numpy as np

from twingrad.core.arguments import FLOATS, check_call, explain, full_settings
from twingrad.core.catalogue import LAYERS, OPTIMIZERS
from twingrad.core.contract import Backend, LayerBackend, States
from twingrad.core.errors import BackendError, ShapeError, TwingradError
from twingrad.core.shapes import Shape, bind
from twingrad.core.spec import Array, Arrays, LayerSpec, OptimizerSpec, Settings


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
        if attribute not in {*vars(Backend), *Backend.__annotations__}:
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
            call.refuse(f"return a parameter for each of {', '.join(params)}", shown(new))
        if not grads.keys() <= new_states.keys():
            call.refuse(f"return a state for each of {', '.join(grads)}", shown(new_states))
        checked: States = dict(new_states)
        for key in grads:
            given = new_states[key]
            state = dict(given) if isinstance(given, Mapping) else {}
            step = state.pop("step", None)
            if not isinstance(step, int) or not {*state} <= {*spec.state}:
                arrays = ", ".join(spec.state)
                must = f"return a state of an int 'step' and what it needs of {arrays}"
                call.refuse(must, f"{shown(given)} for {key}")
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
        check_call(spec, inputs, settings)
        shape = _output_shape(spec, {name: x.shape for name, x in inputs.items()}, settings)
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
            self.refuse("return without an error", said(error), error)

    def pair(self, form: str, result: Any) -> tuple[Any, Mapping[str, Any]]:
        """Return a result that has the form of a pair, the second part a dict."""
        is_pair = isinstance(result, tuple) and len(result) == 2
        if not is_pair or not isinstance(result[1], Mapping):
            self.refuse(f"return {form}", shown(result))
        return result[0], result[1]

    def array(self, what: str, value: Any, shape: Shape) -> Array:
        """Return one part of a result as a NumPy array of this shape and the call's dtype."""
        must = f"return {what} as an array of shape {shape} and dtype {self.dtype}"
        try:
            # What is an array already is not copied: the laws look at whose memory it is.
            array = value if type(value) is np.ndarray else np.array(value)
        except Exception as error:
            self.refuse(must, f"{shown(value)} ({said(error)})", error)
        if array.dtype.hasobject:
            self.refuse(must, shown(value))
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
        raise BackendError(f"{must}; got {said(error)}") from error
    if not isinstance(answer, bool | np.bool_):
        raise BackendError(f"{must}; got {shown(answer)}")
    return bool(answer)


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


def said(error: Exception) -> str:
    """Return what an exception says, in one line."""
    return shorten(f"{type(error).__name__}: {error}", 300, placeholder=" ...")


def shown(value: Any) -> str:
    """Return a value as part of a message."""
    return f"{type(value).__name__} {shorten(repr(value), 60, placeholder=' ...')}"
