"""Every layer in PyTorch, differentiated by autograd."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from twingrad.backends.torch_backend.kernels import KERNELS, OPTIMIZERS
from twingrad.backends.torch_backend.module import from_array, shell
from twingrad.core.arguments import check_call, explain, no_gradient
from twingrad.core.catalogue import has_page
from twingrad.core.contract import States
from twingrad.core.errors import BackendError, ShapeError
from twingrad.core.module import Module
from twingrad.core.operations import OPERATIONS
from twingrad.core.random import Draws
from twingrad.core.registry import owner
from twingrad.core.spec import Array, Arrays, LayerSpec, OptimizerSpec, Settings

# float(loss) is how a loop reads its loss on either backend; torch warns of it since 2.13.
warnings.filterwarnings("ignore", message="Converting a tensor with requires_grad=True to a scalar")

__all__ = ["TorchBackend", "backend"]


# What autocast computes in the narrow dtype, and what it keeps out of it.
NARROW = {"linear", "matmul", "attention"}
WIDE = {"softmax", "log_softmax", "layer_norm", "cross_entropy", "bce_with_logits"}


class TorchBackend:
    """PyTorch's own kernels, mended where they mean something else than the spec."""

    name = "torch"
    tensor_type = Tensor
    dtypes = ("float16", "bfloat16", "float32", "float64")

    def forward(self, spec: LayerSpec, inputs: Arrays, settings: Settings) -> Array:
        with torch.no_grad():
            return self.to_numpy(self.apply(spec, _tensors(spec, inputs), settings))

    def vjp(
        self, spec: LayerSpec, inputs: Arrays, grad_y: Callable[[Array], Array], settings: Settings
    ) -> tuple[Array, Arrays]:
        tensors = _tensors(spec, inputs)
        data = {*spec.booleans, *spec.constants, *spec.indices}
        leaves = {
            name: tensor.requires_grad_()
            for name, tensor in tensors.items()
            if name not in data and tensor.is_floating_point()
        }
        y = self.apply(spec, tensors, settings)
        upstream = from_array(grad_y(self.to_numpy(y)))
        grads = torch.autograd.grad(y, list(leaves.values()), upstream, allow_unused=True)
        return self.to_numpy(y), {
            name: np.zeros(inputs[name].shape, inputs[name].dtype)
            if grad is None
            else self.to_numpy(grad)
            for name, grad in zip(leaves, grads, strict=True)
        }

    def optimizer_step(
        self, spec: OptimizerSpec, params: Arrays, grads: Arrays, states: States, settings: Settings
    ) -> tuple[Arrays, States]:
        new_params, new_states = dict(params), dict(states)
        weights = {name: from_array(params[name]) for name in grads}
        state: dict[Tensor, dict[str, Any]] = {}
        for name, weight in weights.items():
            weight.grad = from_array(grads[name])
            old = dict(states.get(name, {}))
            state[weight] = self.optimizer_state(weight, old.pop("step", 0), old)
        _update(spec, list(weights.values()), state, settings)
        for name, weight in weights.items():
            new_params[name] = self.to_numpy(weight)
            new_states[name] = {
                key: int(value) if key == "step" else self.to_numpy(value)
                for key, value in state[weight].items()
            }
        return new_params, new_states

    def apply(self, spec: LayerSpec, inputs: Mapping[str, Any], settings: Settings) -> Tensor:
        given = {name: value for name, value in inputs.items() if value is not None}
        if not torch.compiler.is_compiling():
            given = self._checked(spec, given, settings)
        try:
            y: Tensor = KERNELS[spec.name](**given, **settings)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            shapes = {name: tuple(value.shape) for name, value in given.items()}
            reason = explain(spec, shapes, settings)
            if reason is None:
                raise
            raise ShapeError(reason) from error
        return y

    def concat(self, tensors: list[Tensor], axis: int) -> Tensor:
        return torch.cat(tensors, axis)

    def tensor(
        self, array: Array, *, requires_grad: bool = False, device: str | None = None
    ) -> Tensor:
        return from_array(array, _device(device)).requires_grad_(requires_grad)

    def to_numpy(self, tensor: Tensor) -> Array:
        plain = tensor.detach()
        # NumPy has no bfloat16; every one of its numbers is a float32.
        plain = plain.float() if plain.dtype == torch.bfloat16 else plain
        array: Array = plain.cpu().numpy()
        return array.copy()

    def assign(self, tensor: Tensor, values: Array) -> None:
        with torch.no_grad():
            tensor.copy_(from_array(values))

    def draw_keep(
        self, draws: Draws, x: Tensor, shape: tuple[int, ...], p: float, native: bool
    ) -> Tensor:
        if native:
            return torch.rand(shape, device=x.device) >= p
        keep: Tensor = _drawn(draws, x, shape, p)
        return keep

    def constant(self, array: Array, like: Tensor) -> Tensor:
        made: Tensor = _constant(array, like)
        return made

    def recompute(
        self,
        function: Callable[..., Tensor],
        inputs: tuple[Any, ...],
        parameters: tuple[Tensor, ...],
    ) -> Tensor:
        y: Tensor = checkpoint(function, *inputs, use_reentrant=False)
        return y

    def autocast(self, model: Any, dtype: str) -> AbstractContextManager[Any]:
        if dtype != "bfloat16":
            return nullcontext()
        device = next(model.parameters()).device
        return torch.autocast(device.type, dtype=torch.bfloat16)

    def compiled(self, model: Any) -> Callable[..., Any]:
        compiled: Callable[..., Any] = torch.compile(model)
        return compiled

    def parameter(self, array: Array, dtype: str, device: str | None) -> torch.nn.Parameter:
        # NumPy has no bfloat16; torch rounds it from float32.
        rounded = array.astype("float32" if dtype == "bfloat16" else dtype)
        return torch.nn.Parameter(from_array(rounded, _device(device)).to(getattr(torch, dtype)))

    def shell(self, recipe: Module) -> Any:
        return shell(type(recipe))

    def plain(self, value: Tensor | Array) -> Tensor:
        return value.detach() if isinstance(value, Tensor) else from_array(value)

    def broadcast(self, array: Tensor, shape: tuple[int, ...]) -> Tensor:
        return array.expand(shape)

    def supports(self, name: str, dtype: str) -> bool:
        return name in OPERATIONS or has_page(name, self.name, __name__)

    def updater(
        self, spec: OptimizerSpec
    ) -> Callable[[Sequence[Tensor], dict[Tensor, dict[str, Any]], Settings], None]:
        return partial(_update, spec)

    def optimizer_state(self, param: Tensor, step: int, arrays: Arrays) -> dict[str, Any]:
        return {
            "step": torch.tensor(float(step)),
            **{name: from_array(array).to(param) for name, array in arrays.items()},
        }

    def detached(self, tensor: Tensor) -> Tensor:
        return tensor.detach().clone()

    def clip_grad_norm(self, params: list[Tensor], max_norm: float) -> float:
        return float(torch.nn.utils.clip_grad_norm_(params, max_norm))

    def no_grad(self) -> AbstractContextManager[None]:
        return torch.no_grad()

    def _checked(
        self, spec: LayerSpec, given: dict[str, Any], settings: Settings
    ) -> dict[str, Tensor]:
        """Return the inputs as tensors, after every check that the spec asks for."""
        device = next((value.device for value in given.values() if isinstance(value, Tensor)), None)
        tensors = {name: _as_tensor(spec, name, value, device) for name, value in given.items()}
        place = next((x.device.type for x in tensors.values()), "cpu")
        if torch.is_autocast_enabled(place):
            tensors = _autocast(spec, tensors)
        check_call(spec, tensors, settings, widened=Tensor.long)
        tensors |= {name: tensors[name].long() for name in spec.indices}
        if torch.is_grad_enabled():
            for name in spec.constants:
                if name in tensors and tensors[name].requires_grad:
                    raise no_gradient(spec, name)
        return tensors


def _update(
    spec: OptimizerSpec,
    params: Sequence[Tensor],
    state: dict[Tensor, dict[str, Any]],
    settings: Settings,
) -> None:
    """Change the parameters that have a gradient, and their entries in `state`, in place."""
    given = [param for param in params if param.grad is not None]
    if not given:
        return
    entries = [state.setdefault(param, {}) for param in given]
    for param, entry in zip(given, entries, strict=True):
        if "step" not in entry:
            entry["step"] = torch.tensor(0.0)
        for name in spec.state:
            if name not in entry:
                entry[name] = torch.zeros_like(param, memory_format=torch.preserve_format)
    arrays = {name: [entry[name] for entry in entries] for name in spec.state}
    steps = [entry["step"] for entry in entries]
    with torch.no_grad():
        OPTIMIZERS[spec.name](given, [param.grad for param in given], arrays, steps, settings)
    for name, tensors in arrays.items():
        for entry, tensor in zip(entries, tensors, strict=True):
            entry[name] = tensor


def _tensors(spec: LayerSpec, inputs: Arrays) -> dict[str, Any]:
    return {name: _as_tensor(spec, name, array, None) for name, array in inputs.items()}


def _as_tensor(spec: LayerSpec, name: str, value: Any, device: torch.device | None) -> Tensor:
    if isinstance(value, Tensor):
        return value
    other = owner(value)
    if other is not None:
        raise BackendError(
            f"{spec.name}: {name} is a {other.name} tensor among torch tensors; "
            f"move it with twingrad.to_numpy({name})"
        )
    return from_array(value, device)


def _device(device: str | None) -> torch.device | None:
    if device is None:
        return None
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BackendError(f"backend 'torch': device {device!r} cannot be used: {reason}") from None
    return place


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _drawn(draws: Draws, x: Tensor, shape: tuple[int, ...], p: float) -> Tensor:
    return torch.from_numpy(draws.keep(shape, p)).to(x.device)


def _autocast(spec: LayerSpec, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the inputs in the dtypes that torch's autocast would give them."""
    floating = {name: x for name, x in tensors.items() if x.is_floating_point()}
    if spec.name in NARROW:
        device = next(iter(floating.values())).device.type
        dtype = torch.get_autocast_dtype(device)
    elif spec.name in WIDE or len({x.dtype for x in floating.values()}) > 1:
        dtype = torch.float32
    else:
        return tensors
    return tensors | {name: x.to(dtype) for name, x in floating.items()}


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _constant(array: Array, like: Tensor) -> Tensor:
    return from_array(array).to(like)


backend = TorchBackend()
