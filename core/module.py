"""Models written once: a Module is a recipe without arrays, until build gives it parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twingrad.core.catalogue import spec_of
from twingrad.core.contract import Backend, Tensor
from twingrad.core.errors import BackendError, SettingError
from twingrad.core.random import Draws, Initial
from twingrad.core.registry import backend_of, load_backend
from twingrad.core.spec import Array
from twingrad.core.state import LoadedKeys, load_state_dict


@dataclass(frozen=True, eq=False)
class Parameter:
    """A parameter to be: its shape, and how its initial values are drawn."""

    shape: tuple[int, ...]
    initial: Initial
    is_parameter = True


@dataclass(frozen=True)
class Origin:
    """Where a built module came from: all that it takes to build it again."""

    recipe: Module
    name: str
    seed: int
    dtype: str
    native_random: bool


def apply(module: Module, layer: str, inputs: Mapping[str, Any], **settings: Any) -> Tensor:
    """Run a layer for `module`, on its backend, or on that of its inputs if it has none."""
    return backend_for(module, layer, inputs).apply(spec_of(layer), inputs, settings)


def draw_keep(module: Module, x: Any, shape: tuple[int, ...], p: float) -> Any:
    """Return booleans that are False with probability p, from the module's own random numbers."""
    assert module.draws is not None
    native = module.origin is not None and module.origin.native_random
    return backend_for(module, "dropout", {"x": x}).draw_keep(module.draws, x, shape, p, native)


def recompute(module: Module, function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """Return function(*inputs), a part of `module` whose intermediate results are not kept.

    backward() runs it once more, with the same random draws: time for memory (Chen et al. 2016,
    arXiv:1604.06174).
    """
    draws = [part.draws for part in module.modules() if part.draws is not None]
    first = [one.count for one in draws]

    def again(*inputs: Any) -> Tensor:
        counts = [one.count for one in draws]
        for one, count in zip(draws, first, strict=True):
            one.count = count
        try:
            return function(*inputs)
        finally:
            for one, count in zip(draws, counts, strict=True):
                one.count = max(one.count, count)

    backend = backend_for(module, "recompute", {"x": inputs[0]})
    return backend.recompute(again, inputs, tuple(module.parameters()))


def backend_for(module: Module, what: str, inputs: Mapping[str, Any]) -> Backend:
    """Return the backend that `module` was built on, or else that of its inputs."""
    return load_backend(module.backend) if module.backend else backend_of(what, inputs)


class Module:
    """A part of a model, with torch.nn.Module's habits.

    Subclasses assign parameters and other modules to attributes in __init__ and compute in
    forward. The recipe holds no arrays: twingrad.build makes a model from it, on any backend.
    """

    backend: str | None = None
    origin: Origin | None = None
    draws: Draws | None = None  # given to modules that draw random numbers while they train

    training = True

    def __init__(self) -> None:
        self.training = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{type(self).__name__} has no forward(); define one")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.backend is not None:
            tensor = load_backend(self.backend).tensor
            args = tuple([tensor(x) if isinstance(x, np.ndarray) else x for x in args])
            for name, x in kwargs.items():
                if isinstance(x, np.ndarray):
                    kwargs[name] = tensor(x)
        elif self._has_recipes():
            raise BackendError(_recipe(self))
        return self.forward(*args, **kwargs)

    def children(self) -> Iterator[Module]:
        """Yield the modules that stand directly in this one."""
        return (module for _, module in self.named_children())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules that stand directly in this one, with their names."""
        seen: set[int] = set()
        for name, value in vars(self).items():
            if isinstance(value, Module) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield this module and all inside it, each once, with dotted names."""
        seen: set[int] = set()
        for name, module in self._walk(prefix):
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def modules(self) -> Iterator[Module]:
        """Yield this module and all inside it, each once."""
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Any]]:
        """Yield every parameter once, with its dotted name."""
        seen: set[int] = set()
        for name, parameter in self._all_parameters():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def parameters(self) -> Iterator[Any]:
        """Yield every parameter once."""
        return (parameter for _, parameter in self.named_parameters())

    def state_dict(self) -> dict[str, Array]:
        """Return a copy of every parameter's values by name, a shared one under all its names."""
        parameters = dict(self._all_parameters())
        if any(isinstance(parameter, Parameter) for parameter in parameters.values()):
            raise BackendError(_recipe(self))
        return {name: parameter.numpy() for name, parameter in parameters.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadedKeys:
        """Take parameter values from a state dict of either backend.

        Raises StateError, before anything is changed, if a shape or (if strict) a name is wrong.
        """
        return load_state_dict(dict(self._all_parameters()), state_dict, strict)

    def train(self, mode: bool = True) -> Any:
        """Set training mode, in which dropout drops, here and in every module inside."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Any:
        """Leave training mode."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradient of every parameter."""
        for parameter in self.parameters():
            parameter.grad = None

    def extra_repr(self) -> str:
        return ""

    def __repr__(self) -> str:
        lines = [
            f"({name}): {child!r}".replace("\n", "\n  ")
            for name, child in vars(self).items()
            if isinstance(child, Module)
        ]
        body = "\n  ".join(["", *lines]) + "\n" if lines else self.extra_repr()
        return f"{type(self).__name__}({body})"

    def _has_recipes(self) -> bool:
        """Return whether a parameter here or further inside has no values yet."""
        return any(
            isinstance(value, Parameter) or (isinstance(value, Module) and value._has_recipes())
            for value in vars(self).values()
        )

    def _walk(self, prefix: str) -> Iterator[tuple[str, Module]]:
        yield prefix, self
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield from value._walk(f"{prefix}.{name}" if prefix else name)

    def _all_parameters(self) -> Iterator[tuple[str, Any]]:
        for prefix, module in self._walk(""):
            for name, value in vars(module).items():
                if getattr(value, "is_parameter", False):
                    yield f"{prefix}.{name}" if prefix else name, value


class ModuleList(Module):
    """A list of modules whose parameters are found; one that stands in it twice is shared."""

    def __init__(self, modules: Sequence[Module] = ()) -> None:
        super().__init__()
        self._places: tuple[str, ...] = ()
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> Any:
        place = str(len(self))
        setattr(self, place, module)
        self._places = (*self._places, place)
        return self

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Any]:
        # Not children(), which yields a module that is used twice only once.
        return iter([getattr(self, place) for place in self._places])

    def __getitem__(self, index: int) -> Any:
        return getattr(self, self._places[index])


class Sequential(ModuleList):
    """Modules one after the other."""

    def __init__(self, *modules: Module) -> None:
        super().__init__(modules)

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x


def _recipe(module: Module) -> str:
    return (
        f"{type(module).__name__} is a recipe without parameters; "
        f"make a model of it: twingrad.build(module, backend=...)"
    )


def length_of(layer: str, name: str, value: object) -> int:
    """Return a length that a module was given; raise SettingError unless it is at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise SettingError(f"{layer}: {name} must be an integer >= 1; got {value!r}")
    return int(value)
