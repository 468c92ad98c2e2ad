"""Models written once: a Module is a recipe without arrays, until build gives it parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twingrad.core.arguments import check_setting, spec_of
from twingrad.core.backend import Backend, Tensor, backend_of, load_backend
from twingrad.core.errors import BackendError, SettingError, ShapeError
from twingrad.core.random import Constant, Draws, Initial, Normal, fan_in_uniform
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


class Linear(Module):
    """y = x @ weight.T + bias; weight (out_features, in_features), bias (out_features)."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features = length_of("Linear", "in_features", in_features)
        self.out_features = length_of("Linear", "out_features", out_features)
        initial = fan_in_uniform(in_features)
        self.weight: Any = Parameter((out_features, in_features), initial)
        self.bias: Any = Parameter((out_features,), initial) if bias else None

    def forward(self, x: Any) -> Tensor:
        return apply(self, "linear", {"x": x, "weight": self.weight, "bias": self.bias})

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class Tanh(Module):
    """Hyperbolic tangent of each element."""

    def forward(self, x: Any) -> Tensor:
        return apply(self, "tanh", {"x": x})


class Sigmoid(Module):
    """Logistic function of each element."""

    def forward(self, x: Any) -> Tensor:
        return apply(self, "sigmoid", {"x": x})


class ReLU(Module):
    """What is above 0 of each element."""

    def forward(self, x: Any) -> Tensor:
        return apply(self, "relu", {"x": x})


class GELU(Module):
    """Each element times the chance that a normal variable is below it; or the tanh form."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        check_setting(spec_of("gelu"), "approximate", approximate)
        self.approximate = approximate

    def forward(self, x: Any) -> Tensor:
        return apply(self, "gelu", {"x": x}, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softmax(Module):
    """Probabilities over the dimension `dim`."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Any) -> Tensor:
        if self.dim in (-1, x.ndim - 1):
            return apply(self, "softmax", {"x": x})
        if not -x.ndim <= self.dim < x.ndim:
            raise ShapeError(
                f"softmax: dim must be an axis of x; got {self.dim} and x of shape {tuple(x.shape)}"
            )
        return apply(self, "softmax", {"x": x.transpose(self.dim, -1)}).transpose(self.dim, -1)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LayerNorm(Module):
    """Rows of mean 0 and variance 1 over the last dimension, then scaled and shifted."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        shape = (
            (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        )
        if len(shape) != 1:
            raise SettingError(
                f"LayerNorm: normalized_shape must be the length of the last dimension; "
                f"got {normalized_shape!r}"
            )
        length_of("LayerNorm", "normalized_shape", shape[0])
        check_setting(spec_of("layer_norm"), "eps", eps)
        self.normalized_shape, self.eps = shape, eps
        self.weight: Any = Parameter(shape, Constant(1.0)) if elementwise_affine else None
        self.bias: Any = Parameter(shape, Constant(0.0)) if elementwise_affine and bias else None

    def forward(self, x: Any) -> Tensor:
        if x.shape[-1:] != self.normalized_shape:
            raise ShapeError(
                f"layer_norm: normalized_shape is {self.normalized_shape}, so x must be "
                f"(..., {self.normalized_shape[0]}); got x of shape {tuple(x.shape)}"
            )
        inputs = {"x": x, "weight": self.weight, "bias": self.bias}
        return apply(self, "layer_norm", inputs, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape[0]}, eps={self.eps}"


class Embedding(Module):
    """A row of weight (num_embeddings, embedding_dim) for each id; that of padding_idx is 0.

    A negative padding_idx counts from the end, as in torch.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None
    ) -> None:
        super().__init__()
        self.num_embeddings = length_of("Embedding", "num_embeddings", num_embeddings)
        self.embedding_dim = length_of("Embedding", "embedding_dim", embedding_dim)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise SettingError(
                f"Embedding: padding_idx must be within num_embeddings = {num_embeddings}; "
                f"got {padding_idx!r}"
            )
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        initial = Normal(1.0, zero_row=self.padding_idx)
        self.weight: Any = Parameter((num_embeddings, embedding_dim), initial)

    def forward(self, ids: Any) -> Tensor:
        inputs = {"ids": ids, "weight": self.weight}
        return apply(self, "embedding", inputs, padding_idx=self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class Dropout(Module):
    """In training, each element is 0 with probability p, and the others are scaled up."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        check_setting(spec_of("dropout"), "p", p)
        self.p = p
        self.draws = Draws(0, "dropout")

    def forward(self, x: Any) -> Tensor:
        if not self.training or self.p == 0:
            return x
        keep = draw_keep(self, x, tuple(x.shape), self.p)
        return apply(self, "dropout", {"x": x, "keep": keep}, p=self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class BCEWithLogitsLoss(Module):
    """Cross entropy of 0/1 targets with logits; weight and pos_weight are arrays to multiply by."""

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__()
        check_setting(spec_of("bce_with_logits"), "reduction", reduction)
        self.weight, self.reduction, self.pos_weight = weight, reduction, pos_weight

    def forward(self, x: Any, target: Any) -> Tensor:
        inputs = {"x": x, "target": target, "weight": self.weight, "pos_weight": self.pos_weight}
        return apply(self, "bce_with_logits", inputs, reduction=self.reduction)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


class CrossEntropyLoss(Module):
    """Cross entropy of integer targets with logits; weight is an array, a number for each class.

    Shapes: x (N, classes) or (classes), or (N, classes, d1, ...) as in torch, and target the same
    without classes.
    """

    def __init__(
        self,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value in (
            ("ignore_index", ignore_index),
            ("reduction", reduction),
            ("label_smoothing", label_smoothing),
        ):
            check_setting(spec_of("cross_entropy"), name, value)
        self.weight, self.ignore_index = weight, ignore_index
        self.reduction, self.label_smoothing = reduction, label_smoothing

    def forward(self, x: Any, target: Any) -> Tensor:
        for axis in range(1, x.ndim - 1):
            x = x.transpose(axis, axis + 1)  # the classes move to the end
        return apply(
            self,
            "cross_entropy",
            {"x": x, "target": target, "weight": self.weight},
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}, ignore_index={self.ignore_index}"


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
