"""From recipe to model: build gives a Module parameters on one backend, convert on another."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.core.errors import BackendError, DTypeError, SettingError
from twingrad.core.module import Module, Origin, Parameter
from twingrad.core.random import Draws, check_seed, generator
from twingrad.core.registry import default_backend, load_backend


def build(
    module: Module,
    backend: str | None = None,
    seed: int = 0,
    dtype: str = "float32",
    device: str | None = None,
    native_random: bool = False,
) -> Any:
    """Return a model: `module` with parameters on `backend`, the recipe itself unchanged.

    The first values depend only on the seed and on each parameter's name, so every backend starts
    from the same bits. On torch the model is a torch.nn.Module. Dropout draws from NumPy, equally
    on every backend; with `native_random` the backend draws in its own, faster way.

    Raises BackendError, DTypeError or SettingError for a backend, dtype, device or seed that is
    not to be had.
    """
    if module.backend is not None:
        raise BackendError("build: this module is built already; twingrad.convert moves it")
    name = backend or default_backend()
    target = load_backend(name)
    seed = check_seed(seed)
    if dtype not in target.dtypes:
        raise DTypeError(
            f"build: dtype on backend {name!r} must be one of {list(target.dtypes)}; got {dtype!r}"
        )
    _refuse_hidden_modules(module)
    parameters = {
        id(parameter): target.parameter(
            parameter.initial.draw(generator(seed, key), parameter.shape), dtype, device
        )
        for key, parameter in module.named_parameters()
    }
    built: dict[int, Any] = {}

    def built_from(recipe: Module, key: str) -> Any:
        if id(recipe) in built:
            return built[id(recipe)]
        twin = built[id(recipe)] = target.shell(recipe)
        for attribute, value in vars(recipe).items():
            if isinstance(value, Module):
                value = built_from(value, f"{key}.{attribute}" if key else attribute)
            elif isinstance(value, Parameter):
                value = parameters[id(value)]
            setattr(twin, attribute, value)
        twin.backend = name
        twin.origin = Origin(recipe, key, seed, dtype, native_random)
        if recipe.draws is not None:
            twin.draws = Draws(seed, f"{key}.draws")
        return twin

    return built_from(module, "")


def convert(model: Any, backend: str, device: str | None = None) -> Any:
    """Return the same model on another backend: weights, modes, random draws so far.

    Raises BackendError if `model` was not built, or the backend is not installed.
    """
    origin: Origin | None = getattr(model, "origin", None)
    if origin is None:
        raise BackendError("convert: this is not a built model; twingrad.build(module) makes one")
    twin = build(origin.recipe, backend, origin.seed, origin.dtype, device, origin.native_random)
    twin.load_state_dict(model.state_dict())
    for old, new in zip(model.parameters(), twin.parameters(), strict=True):
        new.requires_grad_(old.requires_grad)
    for old, new in zip(model.modules(), twin.modules(), strict=True):
        new.training = old.training
        new.origin = old.origin
        if old.draws is not None:
            new.draws = Draws(old.draws.seed, old.draws.name, old.draws.count)
    return twin


def _refuse_hidden_modules(module: Module) -> None:
    """Raise SettingError if modules hide in a list or a dict, where their parameters are lost."""
    for name, part in module.named_modules():
        for key, value in vars(part).items():
            items = value.values() if isinstance(value, dict) else value
            if isinstance(value, list | tuple | dict) and any(
                isinstance(item, Module) for item in items
            ):
                where = f"{name}.{key}" if name else key
                raise SettingError(
                    f"build: {where} is a {type(value).__name__} of modules, whose parameters "
                    f"would not be found; use twingrad.ModuleList"
                )


def tensor(
    array: Any, backend: str | None = None, requires_grad: bool = False, device: str | None = None
) -> Any:
    """Return a tensor of `backend` that holds a copy of `array`."""
    return load_backend(backend or default_backend()).tensor(
        np.array(array), requires_grad=requires_grad, device=device
    )
