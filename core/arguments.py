"""What a call must look like: checked here once, so that every backend says the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from twingrad.core.catalogue import LAYERS
from twingrad.core.errors import (
    DataError,
    DTypeError,
    GradientError,
    SettingError,
    ShapeError,
    UnknownNameError,
)
from twingrad.core.operations import OPERATIONS
from twingrad.core.shapes import Shape, bind
from twingrad.core.spec import Array, Integer, LayerSpec, OptimizerSpec

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
# Of each input its name, shape and dtype; the dtype is NumPy's, torch's or a name.
Signature = tuple[tuple[str, Shape, Any], ...]


def full_settings(spec: LayerSpec | OptimizerSpec, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return every setting of `spec`, the given ones checked, the others at their default."""
    for name, value in settings.items():
        if name not in spec.settings:
            known = f"expected one of {sorted(spec.settings)}" if spec.settings else "it has none"
            raise SettingError(f"{spec.name}: unknown setting {name!r}: {known}")
        check_setting(spec, name, value)
    return spec.defaults() | dict(settings)


def check_setting(spec: LayerSpec | OptimizerSpec, name: str, value: object) -> None:
    """Raise SettingError unless `value` is in the range of the setting called `name`."""
    if not spec.settings[name].accepts(value):
        raise SettingError(
            f"{spec.name}: {name} must be {spec.settings[name].valid}; got {value!r}"
        )


def check_together(spec: OptimizerSpec, settings: Mapping[str, Any]) -> None:
    """Raise SettingError if settings are each in range, but not together."""
    reason = spec.refuses(settings) if spec.refuses is not None else None
    if reason is not None:
        raise SettingError(f"{spec.name}: {reason}")


def check_names(spec: LayerSpec, names: tuple[str, ...]) -> None:
    """Raise unless `names` are inputs of `spec` and none that it needs is missing."""
    if spec.variadic:
        expected = tuple(f"x{index}" for index in range(max(len(names), 1)))
        if names != expected:
            raise ShapeError(f"{spec.name}: expected inputs {', '.join(expected)}; got {names}")
        return
    for name in names:
        if name not in spec.inputs:
            raise UnknownNameError(f"input of {spec.name}", name, spec.inputs)
    for name in spec.inputs:
        if name not in names and name not in spec.optional:
            raise ShapeError(
                f"{spec.name}: input {name} is missing; it takes {', '.join(spec.inputs)}"
            )


def check_call(
    spec: LayerSpec,
    arrays: Mapping[str, Any],
    settings: Mapping[str, Any],
    widened: Callable[[Any], Any] | None = None,
) -> None:
    """Raise unless the inputs fit the spec, are places where it asks for such, and no label is NaN.

    `arrays` are of any backend; `widened` makes integers of the widest kind, where narrow ones
    cannot be compared with any number.
    """
    check_signature(spec, tuple([(name, x.shape, x.dtype) for name, x in arrays.items()]))
    if spec.indices:
        ids = {name: arrays[name] for name in spec.indices}
        if widened is not None:
            ids = {name: widened(x) for name, x in ids.items()}
        check_indices(spec, {**arrays, **ids}, settings)
    for name in spec.labels:
        if name in arrays:
            wrong = arrays[name] != arrays[name]  # of all numbers only NaN is not itself
            if bool(wrong.any()):
                raise DataError(
                    f"{spec.name}: {name} must not be NaN; got NaN at index "
                    f"({_written(_first(wrong))})"
                )


@lru_cache(maxsize=4096)
def check_signature(spec: LayerSpec, signature: Signature) -> None:
    """Raise ShapeError or DTypeError unless the inputs fit the spec and each other."""
    check_names(spec, tuple(name for name, _, _ in signature))
    first: tuple[str, str] | None = None
    for name, _, kind in signature:
        dtype = str(kind).rpartition(".")[-1]
        if name in spec.booleans:
            if dtype != "bool":
                raise DTypeError(f"{spec.name}: {name} must be boolean; got {dtype}")
            continue
        if name in spec.indices:
            if dtype not in INTEGERS:
                raise DTypeError(f"{spec.name}: {name} must be integers; got {dtype}")
            continue
        if dtype not in FLOATS:
            advice = "; convert it, such as x.astype('float32')" if "int" in dtype else ""
            raise DTypeError(f"{spec.name}: {name} must be floating; got {dtype}{advice}")
        if first is None:
            first = (name, dtype)
        elif dtype != first[1]:
            raise DTypeError(
                f"{spec.name}: {first[0]} is {first[1]}, so {name} must be {first[1]}; got {dtype}"
            )
    if spec.name in LAYERS:
        bind(spec, {name: tuple(shape) for name, shape, _ in signature})


def check_indices(spec: LayerSpec, arrays: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Raise DataError or SettingError for an integer that is no place along its dimension.

    `arrays` are of any backend.
    """
    shapes = {name: tuple(x.shape) for name, x in arrays.items()}
    for name, dim in spec.indices.items():
        ids, length = arrays[name], number_of_places(spec, name, shapes)
        wrong, ignored = (ids < 0) | (ids >= length), ""
        if "ignore_index" in spec.settings:
            ignore_index = settings.get("ignore_index", spec.settings["ignore_index"].default)
            wrong, ignored = wrong & (ids != ignore_index), f" or ignore_index = {ignore_index}"
        if bool(wrong.any()):
            index = _first(wrong)
            raise DataError(
                f"{spec.name}: {dim} is {length}, so {name} must be in 0...{length - 1}{ignored}; "
                f"got {int(ids[index])} at index ({_written(index)})"
            )
        for key, setting in spec.settings.items():
            value = settings.get(key, setting.default)
            is_place = isinstance(setting, Integer) and setting.place == dim and value is not None
            if is_place and value >= length:
                raise SettingError(
                    f"{spec.name}: {dim} is {length}, so {key} must be in 0...{length - 1}; "
                    f"got {value}"
                )


def number_of_places(spec: LayerSpec, name: str, shapes: Mapping[str, Shape]) -> int:
    """Return the length of the dimension in which the integers called `name` are places."""
    dim = spec.indices[name]
    other, dims = next(
        (other, dims)
        for other, text in spec.inputs.items()
        if other in shapes and dim in (dims := text.split())
    )
    return shapes[other][dims.index(dim) - len(dims)]


def check_grad_y(spec: LayerSpec, grad_y: Array, y: Array) -> None:
    """Raise unless the upstream gradient has the shape and the dtype of the output."""
    if grad_y.shape != y.shape:
        raise ShapeError(
            f"{spec.name}: y has shape {y.shape}, so grad_y must be {y.shape}; "
            f"got grad_y of shape {grad_y.shape}"
        )
    if grad_y.dtype != y.dtype:
        raise DTypeError(
            f"{spec.name}: y is {y.dtype}, so grad_y must be {y.dtype}; got {grad_y.dtype}"
        )


def no_gradient(spec: LayerSpec, name: str) -> GradientError:
    """Return the error for an input that is data and yet asks for a gradient."""
    return GradientError(f"{spec.name}: {name} is data and gets no gradient; pass {name}.detach()")


def explain(
    spec: LayerSpec, shapes: Mapping[str, Shape], settings: Mapping[str, Any]
) -> str | None:
    """Return why a structure operation does not fit its inputs, or None if it does.

    The definition is run on empty arrays of the same shapes, so that every backend gives NumPy's
    reason. It costs nothing as long as nothing fails.
    """
    if spec.name not in OPERATIONS:
        return None
    try:
        with np.errstate(all="ignore"):
            spec.definition(*(np.zeros(shape) for shape in shapes.values()), **settings)
    except (ValueError, IndexError, TypeError) as error:
        called = ", ".join(
            [f"{name} of shape {shape}" for name, shape in shapes.items()]
            + [f"{name}={value!r}" for name, value in settings.items()]
        )
        return f"{spec.name}: {called} do not fit: {' '.join(str(error).split())}"
    return None


def _first(wrong: Any) -> tuple[int, ...]:
    """Return the first place at which booleans of any backend are True."""
    return tuple(np.argwhere(np.array(wrong.tolist()))[0].tolist())


def _written(index: tuple[int, ...]) -> str:
    return ", ".join(map(str, index))
