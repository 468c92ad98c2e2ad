"""State dicts: parameter values by name, from either backend to either backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from twingrad.core.errors import StateError
from twingrad.core.registry import owner
from twingrad.core.spec import Array


class LoadedKeys(NamedTuple):
    """Which names of the model found no values, and which values no name."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def to_numpy(value: Any) -> Array:
    """Return the values of a tensor of any backend, or of anything like an array, as a copy."""
    backend = owner(value)
    return np.array(value) if backend is None else backend.to_numpy(value)


def load_state_dict(
    parameters: Mapping[str, Any], state_dict: Mapping[str, Any], strict: bool
) -> LoadedKeys:
    """Copy values into parameters of the same names, all of them or none."""
    missing = [name for name in parameters if name not in state_dict]
    unexpected = [name for name in state_dict if name not in parameters]
    if strict and (missing or unexpected):
        raise StateError(
            f"load_state_dict: the names differ: missing {_some(missing)}, unexpected "
            f"{_some(unexpected)}; is this another model's state? strict=False takes what fits"
        )
    arrays: dict[str, Array] = {}
    for name in parameters:
        if name not in state_dict:
            continue
        array = arrays[name] = to_numpy(state_dict[name])
        wanted = tuple(parameters[name].shape)
        if array.shape != wanted:
            raise StateError(f"load_state_dict: {name} must have shape {wanted}; got {array.shape}")
        if array.dtype.kind != "f":
            raise StateError(f"load_state_dict: {name} must be floating; got {array.dtype}")
    for name, array in arrays.items():
        backend = owner(parameters[name])
        if backend is None:
            raise StateError("load_state_dict: build the module first: twingrad.build(module)")
        backend.assign(parameters[name], array)
    return LoadedKeys(missing, unexpected)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3]) or "none"
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
