"""One layer, or one optimizer step, as a function of NumPy arrays, on any backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from twingrad.core.arguments import check_grad_y, check_together, full_settings
from twingrad.core.catalogue import LAYERS, OPTIMIZERS, discover, optimizer_spec_of, spec_of
from twingrad.core.contract import Tensor
from twingrad.core.errors import (
    DTypeError,
    ShapeError,
    StateError,
)
from twingrad.core.operations import OPERATIONS
from twingrad.core.registry import backend_of, default_backend, load_backend
from twingrad.core.spec import Array, Arrays, LayerSpec, OptimizerSpec


def layers() -> list[str]:
    """Return the names of all layers, other packages' too."""
    discover()
    return list(LAYERS)


def layer(name: str) -> LayerSpec:
    """Return the spec of the layer or structure operation called `name`."""
    return spec_of(name)


def operations() -> list[str]:
    """Return the names of all structure operations."""
    return list(OPERATIONS)


def optimizers() -> list[str]:
    """Return the names of all optimizers, other packages' too."""
    discover()
    return list(OPTIMIZERS)


def optimizer(name: str) -> OptimizerSpec:
    """Return the spec of the optimizer called `name`."""
    return optimizer_spec_of(name)


def forward(
    name: str, inputs: Mapping[str, Any], backend: str | None = None, **settings: Any
) -> Array:
    """Return the output of one layer as a NumPy array of the inputs' dtype.

    Raises ShapeError, DTypeError, SettingError, UnknownNameError, DataError or BackendError.
    """
    spec = spec_of(name)
    full = full_settings(spec, settings)
    return load_backend(backend or default_backend()).forward(spec, _arrays(inputs), full)


def vjp(
    name: str,
    inputs: Mapping[str, Any],
    grad_y: Any,
    backend: str | None = None,
    **settings: Any,
) -> tuple[Array, Arrays]:
    """Return the output, and the gradient of sum(grad_y * y) for each differentiable input given.

    A vector-Jacobian product: `grad_y` has the output's shape and dtype, each gradient those of
    its input. Raises what `forward` does.
    """
    spec = spec_of(name)
    full = full_settings(spec, settings)

    def upstream(y: Array) -> Array:
        array = _native(grad_y)
        check_grad_y(spec, array, y)
        return array

    return load_backend(backend or default_backend()).vjp(spec, _arrays(inputs), upstream, full)


def optimizer_step(
    name: str,
    params: Any,
    grads: Any,
    state: Mapping[str, Any] | None = None,
    backend: str | None = None,
    **settings: Any,
) -> tuple[Any, dict[str, Any]]:
    """Take one optimizer step: returns new (params, state) and leaves the arguments alone.

    `params` is an array, a list of arrays or a dict of them, `grads` the same with a gradient for
    each (None: that parameter and its state stay as they are). `state` is None at first, then
    what the last step returned, on any backend: for each parameter "step" and the spec's arrays.
    """
    spec = optimizer(name)
    full = full_settings(spec, settings)
    check_together(spec, full)
    named, named_grads = _named(params), _named(grads)
    if named.keys() != named_grads.keys():
        raise StateError(
            f"{name}: grads must have one entry for each parameter {list(named)}; "
            f"got {list(named_grads)}"
        )
    arrays = {key: _native(value) for key, value in named.items()}
    given = {key: _native(grad) for key, grad in named_grads.items() if grad is not None}
    for key, grad in given.items():
        _check_gradient(spec, key, arrays[key], grad)
    target = load_backend(backend or default_backend())
    new, states = target.optimizer_step(spec, arrays, given, dict(state or {}), full)
    if isinstance(params, Mapping):
        return new, states
    return (list(new.values()) if isinstance(params, Sequence) else new["0"]), states


def concat(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Return tensors of one backend joined along an axis that they have."""
    named = {f"x{index}": tensor for index, tensor in enumerate(tensors)}
    return backend_of("concat", named).concat(list(tensors), axis)


def _arrays(inputs: Mapping[str, Any]) -> Arrays:
    return {name: _native(value) for name, value in inputs.items() if value is not None}


def _native(value: Any) -> Array:
    """Return an array in the machine's byte order, which a file's may not be."""
    array = np.asarray(value)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _named(arrays: Any) -> dict[str, Any]:
    if isinstance(arrays, Mapping):
        return dict(arrays)
    if isinstance(arrays, Sequence):
        return {str(index): array for index, array in enumerate(arrays)}
    return {"0": arrays}


def _check_gradient(spec: OptimizerSpec, key: str, param: Array, grad: Array) -> None:
    if param.dtype.kind != "f":
        raise DTypeError(f"{spec.name}: parameter {key} must be floating; got {param.dtype}")
    if grad.shape != param.shape:
        raise ShapeError(
            f"{spec.name}: parameter {key} has shape {param.shape}, so its gradient must; "
            f"got {grad.shape}"
        )
    if grad.dtype != param.dtype:
        raise DTypeError(
            f"{spec.name}: parameter {key} is {param.dtype}, so its gradient must be; "
            f"got {grad.dtype}"
        )
