"""Every layer by hand: NumPy forward, NumPy backward, and a small tape that joins them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from twingrad.backends.numpy_backend.kernels import OPTIMIZERS
from twingrad.backends.numpy_backend.tensor import (
    Tensor,
    apply,
    concat,
    no_grad,
    run_backward,
    run_forward,
)
from twingrad.core.backend import States
from twingrad.core.errors import BackendError
from twingrad.core.module import Module, Parameter
from twingrad.core.random import Draws
from twingrad.core.spec import Array, Arrays, LayerSpec, OptimizerSpec, Settings

__all__ = ["NumpyBackend", "Tensor", "backend"]


class NumpyBackend:
    """The embedded default; needs nothing but NumPy."""

    name = "numpy"
    tensor_type = Tensor

    def forward(self, spec: LayerSpec, inputs: Arrays, settings: Settings) -> Array:
        y, _ = run_forward(spec, inputs, settings)
        return y if y.base is None else y.copy()

    def vjp(
        self, spec: LayerSpec, inputs: Arrays, grad_y: Callable[[Array], Array], settings: Settings
    ) -> tuple[Array, Arrays]:
        y, saved = run_forward(spec, inputs, settings)
        grads = run_backward(spec, grad_y(y), saved)
        names = inputs if spec.variadic else spec.inputs
        return y.copy(), {
            name: grad.copy()
            for name, grad in zip(names, grads, strict=True)
            if grad is not None and name in inputs
        }

    def optimizer_step(
        self, spec: OptimizerSpec, params: Arrays, grads: Arrays, states: States, settings: Settings
    ) -> tuple[Arrays, States]:
        new_params, new_states = dict(params), dict(states)
        for name, grad in grads.items():
            new_params[name], new_states[name] = _step(
                spec, params[name], grad, states.get(name, {}), settings
            )
        return new_params, new_states

    def apply(self, spec: LayerSpec, inputs: Mapping[str, Any], settings: Settings) -> Tensor:
        return apply(spec, inputs, settings)

    def concat(self, tensors: list[Tensor], axis: int) -> Tensor:
        return concat(tensors, axis)

    def tensor(
        self, array: Array, *, requires_grad: bool = False, device: str | None = None
    ) -> Tensor:
        if device not in (None, "cpu"):
            raise BackendError(f"backend 'numpy': device must be cpu; got {device!r}")
        return Tensor(np.array(array), requires_grad)

    def to_numpy(self, tensor: Tensor) -> Array:
        return tensor.numpy()

    def assign(self, tensor: Tensor, values: Array) -> None:
        tensor.replace_(values)

    def draw_keep(
        self,
        draws: Draws,
        x: Tensor,
        shape: tuple[int, ...],
        p: float,
        native: bool,
    ) -> Tensor:
        return Tensor(draws.keep(shape, p))

    def constant(self, array: Array, like: Tensor) -> Tensor:
        return Tensor(array.astype(like.dtype))

    def autocast(self, model: Any, dtype: str) -> AbstractContextManager[None]:
        if dtype == "bfloat16":
            raise BackendError("backend 'numpy': there is no bfloat16; use backend='torch'")
        return nullcontext()

    def compiled(self, model: Any) -> Callable[..., Any]:
        raise BackendError("backend 'numpy': there is nothing to compile; use backend='torch'")

    def build(
        self,
        module: Module,
        values: Mapping[int, Array],
        dtype: str,
        device: str | None,
        prepare: Callable[[Module, Module, str], None],
    ) -> Module:
        tensors = {
            key: self.tensor(array, requires_grad=True, device=device)
            for key, array in values.items()
        }
        built: dict[int, Module] = {}

        def build_one(recipe: Module, name: str) -> Module:
            if id(recipe) in built:
                return built[id(recipe)]
            twin = built[id(recipe)] = copy.copy(recipe)
            for key, value in vars(recipe).items():
                if isinstance(value, Module):
                    setattr(twin, key, build_one(value, f"{name}.{key}" if name else key))
                elif isinstance(value, Parameter):
                    setattr(twin, key, tensors[id(value)])
            prepare(recipe, twin, name)
            return twin

        for tensor in tensors.values():
            tensor.is_parameter = True
        return build_one(module, "")

    def update(
        self,
        spec: OptimizerSpec,
        params: list[Tensor],
        states: list[dict[str, Any]],
        settings: Settings,
    ) -> None:
        for param, state in zip(params, states, strict=True):
            assert param._grad is not None
            weight, new_state = _step(spec, param.data, param._grad, state, settings)
            param.replace_(weight)
            state.update(new_state)

    def no_grad(self) -> AbstractContextManager[None]:
        return no_grad()

    def optimizer_state(self, param: Tensor, step: int, arrays: Arrays) -> dict[str, Any]:
        return {"step": step, **{name: array.astype(param.dtype) for name, array in arrays.items()}}

    def detached(self, tensor: Array) -> Array:
        return tensor.copy()

    def clip_grad_norm(self, params: list[Tensor], max_norm: float) -> float:
        grads = [param._grad for param in params if param._grad is not None]
        norm = math.sqrt(sum(float(np.square(grad, dtype=np.float64).sum()) for grad in grads))
        for grad in grads:
            # The small number keeps 0 / 0 out, and is torch's.
            grad *= min(max_norm / (norm + 1e-6), 1.0)
        return norm


def _step(
    spec: OptimizerSpec, weight: Array, grad: Array, state: dict[str, Any], settings: Settings
) -> tuple[Array, dict[str, Any]]:
    step = state.get("step", 0) + 1
    zeros = {name: np.zeros_like(weight) for name in spec.state if name not in state}
    with np.errstate(all="ignore"):
        new_weight, arrays = OPTIMIZERS[spec.name](
            weight, grad, {**zeros, **state}, step, **settings
        )
    return new_weight, {"step": step, **arrays}


backend = NumpyBackend()
