"""Every layer by hand: NumPy forward, NumPy backward, and a small tape that joins them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from twingrad.backends.numpy_backend.blocks import (
    elementwise,
    get_num_threads,
    set_num_threads,
)
from twingrad.backends.numpy_backend.kernels import OPTIMIZERS
from twingrad.backends.numpy_backend.tensor import (
    Tensor,
    apply,
    concat,
    no_grad,
    recompute,
    run_backward,
    run_forward,
)
from twingrad.core.backend import States
from twingrad.core.errors import BackendError
from twingrad.core.module import Module, Parameter
from twingrad.core.random import Draws
from twingrad.core.spec import Array, Arrays, LayerSpec, OptimizerSpec, Settings

__all__ = ["NumpyBackend", "Tensor", "backend", "get_num_threads", "set_num_threads"]


SMALL = 4096  # elements of a parameter that an optimizer joins with others


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
            old = states.get(name, {})
            weight = np.empty(grad.shape, params[name].dtype)
            state = {key: np.empty(grad.shape, weight.dtype) for key in spec.state}
            step = old.get("step", 0) + 1
            kept = _step(spec, params[name], grad, old, step, settings, weight, state)
            new_params[name] = weight
            new_states[name] = {"step": step, **{key: state[key] for key in kept}}
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

    def recompute(
        self,
        function: Callable[..., Tensor],
        inputs: tuple[Any, ...],
        parameters: tuple[Tensor, ...],
    ) -> Tensor:
        return recompute(function, inputs, parameters)

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
        groups: dict[tuple[int, Any], list[int]] = {}
        for number, (param, state) in enumerate(zip(params, states, strict=True)):
            # Calls cost more than numbers where there are few, so small parameters go together.
            is_small = param.data.size <= SMALL or not param.data.flags.c_contiguous
            alone = param.dtype if is_small else number
            groups.setdefault((state.get("step", 0) + 1, alone), []).append(number)
        for (step, _), numbers in groups.items():
            _step_in_place(
                spec, [params[n] for n in numbers], [states[n] for n in numbers], step, settings
            )

    def no_grad(self) -> AbstractContextManager[None]:
        return no_grad()

    def optimizer_state(self, param: Tensor, step: int, arrays: Arrays) -> dict[str, Any]:
        contiguous = {name: array.astype(param.dtype, order="C") for name, array in arrays.items()}
        return {"step": step, **contiguous}

    def detached(self, tensor: Array) -> Array:
        return tensor.copy()

    def clip_grad_norm(self, params: list[Tensor], max_norm: float) -> float:
        grads = [param._grad for param in params if param._grad is not None]
        norm = math.sqrt(sum(sum(elementwise(_square_sum, grad)) for grad in grads))
        factor = max_norm / (norm + 1e-6)  # the small number keeps 0 / 0 out, and is torch's
        if not factor >= 1:
            for grad in grads:
                grad *= factor
        return norm


def _step_in_place(
    spec: OptimizerSpec,
    params: list[Tensor],
    states: list[dict[str, Any]],
    step: int,
    settings: Settings,
) -> None:
    """Change parameters and their states; several are joined to one array and cut again."""
    for param, state in zip(params, states, strict=True):
        for name in spec.state:
            if name not in state:
                state[name] = np.zeros_like(param.data)
    weights = [param.data for param in params]
    grads = [param._grad for param in params if param._grad is not None]
    if len(params) == 1 and weights[0].flags.c_contiguous:
        joined = states[0]
        kept = _step(spec, weights[0], grads[0], joined, step, settings, weights[0], joined)
    else:
        weight, grad = _joined(weights), _joined(grads)
        joined = {name: _joined([state[name] for state in states]) for name in spec.state}
        kept = _step(spec, weight, grad, joined, step, settings, weight, joined)
        _cut(weight, weights)
        for name in kept:
            _cut(joined[name], [state[name] for state in states])
    for param, state in zip(params, states, strict=True):
        param._version += 1
        state["step"] = step
        for name in spec.state:
            if name not in kept:
                del state[name]


def _step(
    spec: OptimizerSpec,
    weight: Array,
    grad: Array,
    state: Mapping[str, Any],
    step: int,
    settings: Settings,
    new_weight: Array,
    new_state: Mapping[str, Array],
) -> tuple[str, ...]:
    """Write the new weight and state, which may be the old ones; return the names of the state."""
    names = spec.state
    old = [state[name] if name in state else np.zeros_like(weight) for name in names]

    def block(weight: Array, grad: Array, new_weight: Array, *arrays: Array) -> tuple[str, ...]:
        old, new = arrays[: len(names)], dict(zip(names, arrays[len(names) :], strict=True))
        entries = dict(zip(names, old, strict=True))
        new_weight[...], made = OPTIMIZERS[spec.name](weight, grad, entries, step, **settings)
        for name, array in made.items():
            new[name][...] = array
        return tuple(made)

    with np.errstate(all="ignore"):
        new = [new_state[name] for name in names]
        kept: list[tuple[str, ...]] = elementwise(block, weight, grad, new_weight, *old, *new)
    return kept[0]


def _square_sum(x: Array) -> float:
    wide = x.astype(np.float64)
    return float(wide @ wide)


def _joined(arrays: list[Array]) -> Array:
    return np.concatenate([array.reshape(-1) for array in arrays])


def _cut(joined: Array, arrays: list[Array]) -> None:
    """Copy parts of an array back to where they came from."""
    start = 0
    for array in arrays:
        array[...] = joined[start : start + array.size].reshape(array.shape)
        start += array.size


backend = NumpyBackend()
