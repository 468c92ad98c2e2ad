"""Every layer by hand: NumPy forward, NumPy backward, and a small tape that joins them."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from twingrad.backends.numpy_backend.blocks import (
    elementwise,
    get_num_threads,
    set_num_threads,
)
from twingrad.backends.numpy_backend.dispatch import run_backward, run_forward
from twingrad.backends.numpy_backend.flat import FlatGroup
from twingrad.backends.numpy_backend.kernels import OPTIMIZERS
from twingrad.backends.numpy_backend.recompute import recompute
from twingrad.backends.numpy_backend.tape import no_grad
from twingrad.backends.numpy_backend.tensor import Tensor, apply, concat
from twingrad.core.catalogue import has_page
from twingrad.core.contract import States
from twingrad.core.errors import BackendError
from twingrad.core.module import Module
from twingrad.core.operations import OPERATIONS as OPERATION_SPECS
from twingrad.core.random import Draws
from twingrad.core.spec import Array, Arrays, LayerSpec, OptimizerSpec, Settings

__all__ = ["NumpyBackend", "Tensor", "backend", "get_num_threads", "set_num_threads"]


class NumpyBackend:
    """The embedded default; needs nothing but NumPy."""

    name = "numpy"
    tensor_type = Tensor
    dtypes = ("float16", "float32", "float64")

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
            old, weight = states.get(name, {}), params[name].copy()
            state = {
                key: old[key].copy() if key in old else np.zeros_like(weight) for key in spec.state
            }
            step = old.get("step", 0) + 1
            used = _step_in_place(spec, weight, grad, state, step, settings)
            new_params[name] = weight
            # An array that these settings make no use of stays, for others that may come.
            new_states[name] = {"step": step} | {
                key: array for key, array in state.items() if key in used or key in old
            }
        return new_params, new_states

    apply = staticmethod(apply)
    concat = staticmethod(concat)
    recompute = staticmethod(recompute)
    no_grad = staticmethod(no_grad)

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

    def parameter(self, array: Array, dtype: str, device: str | None) -> Tensor:
        tensor = self.tensor(array.astype(dtype), requires_grad=True, device=device)
        tensor.is_parameter = True
        return tensor

    def shell(self, recipe: Module) -> Module:
        return object.__new__(type(recipe))

    def plain(self, value: Tensor | Array) -> Array:
        return value.data if isinstance(value, Tensor) else np.asarray(value)

    def broadcast(self, array: Array, shape: tuple[int, ...]) -> Array:
        return np.broadcast_to(array, shape)

    def supports(self, name: str, dtype: str) -> bool:
        return name in OPERATION_SPECS or has_page(name, self.name, __name__)

    def updater(self, spec: OptimizerSpec) -> FlatGroup:
        return FlatGroup(spec)

    def optimizer_state(self, param: Tensor, step: int, arrays: Arrays) -> dict[str, Any]:
        contiguous = {name: array.astype(param.dtype, order="C") for name, array in arrays.items()}
        return {"step": step, **contiguous}

    def detached(self, tensor: Array) -> Array:
        return tensor.copy()

    def clip_grad_norm(self, params: list[Tensor], max_norm: float) -> float:
        grads = [param.grad.data for param in params if param.grad is not None]
        norm = math.sqrt(sum(sum(elementwise(_square_sum, grad)) for grad in grads))
        factor = max_norm / (norm + 1e-6)  # the small number keeps 0 / 0 out, and is torch's
        if not factor >= 1:
            for grad in grads:
                grad *= factor
        return norm


def _step_in_place(
    spec: OptimizerSpec, weight: Array, grad: Array, state: Arrays, step: int, settings: Settings
) -> tuple[str, ...]:
    def advance(weight: Array, grad: Array, *arrays: Array) -> tuple[str, ...]:
        parts = dict(zip(state, arrays, strict=True))
        return OPTIMIZERS[spec.name](weight, grad, parts, step, **settings)

    with np.errstate(all="ignore"):
        used: list[tuple[str, ...]] = elementwise(advance, weight, grad, *state.values())
    return used[0]


def _square_sum(x: Array) -> float:
    wide = x.astype(np.float64)
    return float(np.vdot(wide, wide))


backend = NumpyBackend()
