"""Models written once: a Module is a recipe without arrays, until build gives it parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twingrad.core.arguments import check_setting, spec_of
from twingrad.core.backend import Backend, Tensor, backend_of, load_backend
from twingrad.core.errors import BackendError, DTypeError, SettingError, ShapeError
from twingrad.core.random import (
    Constant,
    Draws,
    Initial,
    fan_in_uniform,
    xavier_uniform,
)
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
    return _backend(module, layer, inputs).apply(spec_of(layer), inputs, settings)


def draw_keep(module: Module, x: Any, shape: tuple[int, ...], p: float) -> Any:
    """Return booleans that are False with probability p, from the module's own random numbers."""
    assert module.draws is not None
    native = module.origin is not None and module.origin.native_random
    return _backend(module, "dropout", {"x": x}).draw_keep(module.draws, x, shape, p, native)


def _backend(module: Module, what: str, inputs: Mapping[str, Any]) -> Backend:
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
            backend = load_backend(self.backend)
            args = tuple(backend.tensor(x) if isinstance(x, np.ndarray) else x for x in args)
            kwargs = {
                name: backend.tensor(x) if isinstance(x, np.ndarray) else x
                for name, x in kwargs.items()
            }
        elif any(True for _ in self.parameters()):
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
        self.in_features = _length("Linear", "in_features", in_features)
        self.out_features = _length("Linear", "out_features", out_features)
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
        _length("LayerNorm", "normalized_shape", shape[0])
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


class MultiHeadAttention(Module):
    """Attention in several subspaces at once, with torch.nn.MultiheadAttention's arguments.

    Its masks are torch's too: in `key_padding_mask` (N, S) and a boolean `attn_mask` (L, S) or
    (N * num_heads, L, S), True means *not* to attend, the opposite of the layer `attention`.
    A query with nothing to attend to gets 0 from every head, where torch says NaN.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
    ) -> None:
        super().__init__()
        _length("MultiHeadAttention", "embed_dim", embed_dim)
        if num_heads < 1 or embed_dim % num_heads:
            raise SettingError(
                f"MultiHeadAttention: num_heads must divide embed_dim = {embed_dim}; "
                f"got {num_heads}"
            )
        check_setting(spec_of("attention"), "p", dropout)
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.batch_first = batch_first
        self.draws = Draws(0, "attention")
        kdim, vdim = kdim or embed_dim, vdim or embed_dim
        self.in_proj_weight: Any = None
        if kdim == vdim == embed_dim:
            initial = xavier_uniform(embed_dim, 3 * embed_dim)
            self.in_proj_weight = Parameter((3 * embed_dim, embed_dim), initial)
        else:
            self.q_proj_weight, self.k_proj_weight, self.v_proj_weight = (
                Parameter((embed_dim, width), xavier_uniform(width, embed_dim))
                for width in (embed_dim, kdim, vdim)
            )
        self.in_proj_bias: Any = Parameter((3 * embed_dim,), Constant(0.0)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias)
        if bias:
            self.out_proj.bias = Parameter((embed_dim,), Constant(0.0))

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the output and, if `need_weights`, the attention weights (else None).

        Shapes: query (L, N, E), key (S, N, kdim), value (S, N, vdim), or (N, L, E) and so on if
        batch_first, or without N -> output like query; weights (N, L, S), or
        (N, num_heads, L, S) if not averaged.
        """
        batched = query.ndim == 3
        if not batched:
            query, key, value = (x.reshape(1, *x.shape) for x in (query, key, value))
        elif not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        mask = self._visible(query, key, key_padding_mask, attn_mask)
        if mask is not None:
            key, value = (self._without_unseen(x, mask) for x in (key, value))
        heads = [self._heads(x, which) for which, x in enumerate((query, key, value))]
        inputs = dict(zip(("query", "key", "value"), heads, strict=True))
        inputs["mask"] = mask
        settings: dict[str, Any] = {"causal": is_causal}
        if self.training and self.dropout:
            shape = (*heads[0].shape[:3], heads[1].shape[2])
            inputs["keep"] = draw_keep(self, query, tuple(shape), self.dropout)
            settings["p"] = self.dropout
        output = apply(self, "attention", inputs, **settings)
        batch, _, length, _ = output.shape
        output = self.out_proj(output.transpose(1, 2).reshape(batch, length, self.embed_dim))
        weights = None
        if need_weights:
            weights = self._weights(inputs, settings, average_attn_weights)
        if not batched:
            return output[0], weights if weights is None else weights[0]
        return output if self.batch_first else output.transpose(0, 1), weights

    def _heads(self, x: Any, which: int) -> Tensor:
        """Project x (N, length, width) and cut it into heads (N, num_heads, length, width)."""
        rows = slice(which * self.embed_dim, (which + 1) * self.embed_dim)
        if self.in_proj_weight is None:
            weight = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)[which]
        else:
            weight = self.in_proj_weight[rows]
        bias = None if self.in_proj_bias is None else self.in_proj_bias[rows]
        x = apply(self, "linear", {"x": x, "weight": weight, "bias": bias})
        width = self.embed_dim // self.num_heads
        return x.reshape(x.shape[0], x.shape[1], self.num_heads, width).transpose(1, 2)

    def _visible(self, query: Any, key: Any, key_padding_mask: Any, attn_mask: Any) -> Any:
        """Turn torch's two masks (True = hidden) into the layer's one (True = may attend).

        Shapes: query (N, L, E), key (N, S, kdim) -> four dimensions that broadcast to
        (N, num_heads, L, S), or None if there is no mask.
        """
        batch, rows, columns = query.shape[0], query.shape[1], key.shape[1]
        visible = None
        if key_padding_mask is not None:
            hidden = _boolean("key_padding_mask", key_padding_mask)
            _check_mask("key_padding_mask", hidden, (batch, columns), (columns,) * (batch == 1))
            visible = (~hidden).reshape(batch, 1, 1, columns)
        if attn_mask is not None:
            hidden = _boolean("attn_mask", attn_mask)
            per_head = (batch * self.num_heads, rows, columns)
            _check_mask("attn_mask", hidden, per_head, (rows, columns))
            wide = (batch, self.num_heads) if hidden.ndim == 3 else (1, 1)
            allowed = (~hidden).reshape(*wide, rows, columns)
            visible = allowed if visible is None else visible & allowed
        return visible

    def _without_unseen(self, x: Any, visible: Any) -> Tensor:
        """Return x (N, S, width) with 0 in the rows that no query may attend to."""
        # They get no gradient, but 0 * NaN would spoil that of the projection's weight.
        seen = visible.any(1).any(1)[:, :, None]
        shape = tuple(x.shape)
        keep = np.broadcast_to(seen, shape) if isinstance(seen, np.ndarray) else seen.expand(shape)
        return apply(self, "dropout", {"x": x, "keep": keep}, p=0.0)

    def _weights(
        self, inputs: Mapping[str, Any], settings: Mapping[str, Any], average: bool
    ) -> Tensor:
        # Attention to the rows of an identity matrix is the weights themselves.
        rows = _backend(self, "attention", inputs).identity_rows(inputs["key"])
        weights = apply(self, "attention", {**inputs, "value": rows}, **settings)
        return weights.mean(1) if average else weights

    def extra_repr(self) -> str:
        return f"{self.embed_dim}, {self.num_heads}, dropout={self.dropout}"


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


def _recipe(module: Module) -> str:
    return (
        f"{type(module).__name__} is a recipe without parameters; "
        f"make a model of it: twingrad.build(module, backend=...)"
    )


def _boolean(name: str, mask: Any) -> Any:
    """Return a mask as an array of its backend, to compute with outside the tape."""
    plain = mask if isinstance(mask, np.ndarray) else mask.data
    dtype = str(plain.dtype).removeprefix("torch.")
    if dtype != "bool":
        raise DTypeError(f"MultiHeadAttention: {name} must be boolean, True = hidden; got {dtype}")
    return plain


def _check_mask(name: str, mask: Any, *shapes: tuple[int, ...]) -> None:
    expected = [shape for shape in shapes if shape]
    if tuple(mask.shape) not in expected:
        raise ShapeError(
            f"MultiHeadAttention: {name} must be {' or '.join(map(str, expected))}; "
            f"got {tuple(mask.shape)}"
        )


def _length(layer: str, name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise SettingError(f"{layer}: {name} must be an integer >= 1; got {value!r}")
    return int(value)
