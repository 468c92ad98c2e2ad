"""A recipe as a torch.nn.Module, so that all that torch offers for modules works on it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from twingrad.core.module import Module
from twingrad.core.state import LoadedKeys, load_state_dict

# What torch.nn.Module must do itself, whatever the recipe's class says.
OWN = {"__init__", "__call__", "__dict__", "__weakref__", "__module__", "__doc__", "__repr__"}


class BuiltModule(torch.nn.Module):
    """The parent of every built module: torch.nn.Module, and state dicts of either backend."""

    def load_state_dict(
        self,
        state_dict: Mapping[str, Any],
        strict: bool = True,
        assign: bool = False,
    ) -> LoadedKeys:
        own = dict(self.named_parameters(remove_duplicate=False))
        return load_state_dict(own, state_dict, strict)


_classes: dict[type[Module], type[BuiltModule]] = {}


def torch_class(recipe_class: type[Module]) -> type[BuiltModule]:
    """Return a torch.nn.Module class with the methods of `recipe_class`."""
    if recipe_class in _classes:
        return _classes[recipe_class]
    own_classes = recipe_class.__mro__[: recipe_class.__mro__.index(Module)]
    namespace: dict[str, Any] = {}
    for cls in reversed(own_classes):
        namespace |= {name: value for name, value in vars(cls).items() if name not in OWN}
    namespace["forward"] = _taking_arrays(recipe_class.forward)
    namespace["__module__"] = recipe_class.__module__
    namespace["__doc__"] = recipe_class.__doc__
    _classes[recipe_class] = type(recipe_class.__name__, (BuiltModule, recipe_class), namespace)
    return _classes[recipe_class]


def shell(recipe_class: type[Module]) -> BuiltModule:
    """Return a torch module with the methods of `recipe_class`, and no attributes yet."""
    cls = torch_class(recipe_class)
    twin = cls.__new__(cls)
    torch.nn.Module.__init__(twin)
    return twin


def from_array(array: Any, device: torch.device | None = None) -> torch.Tensor:
    """Return a tensor that holds a copy of `array`."""
    # A copy: the caller may reuse its array, and torch cannot share one that is reversed, read-only
    # or of another byte order.
    array = np.asarray(array)
    native = np.array(array, array.dtype.newbyteorder("="), order="C")
    return torch.from_numpy(native).to(device)


def _taking_arrays(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Let `forward` take NumPy arrays as they are, on the device of the module's parameters."""

    @functools.wraps(forward)
    def taking_arrays(self: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        if any(isinstance(value, np.ndarray) for value in (*args, *kwargs.values())):
            device = next((parameter.device for parameter in self.parameters()), None)
            args = tuple(_moved(value, device) for value in args)
            kwargs = {name: _moved(value, device) for name, value in kwargs.items()}
        return forward(self, *args, **kwargs)

    return taking_arrays


def _moved(value: Any, device: torch.device | None) -> Any:
    return from_array(value, device) if isinstance(value, np.ndarray) else value
