"""What a backend must be: the protocol that core, models and laws call.

`LayerBackend` is what another package must bring, see docs/backends.md; `Backend` is what holds
models, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from twingrad.core.spec import Array, Arrays, LayerSpec, OptimizerSpec, Settings

if TYPE_CHECKING:
    from twingrad.core.module import Module
    from twingrad.core.random import Draws

Tensor = Any  # a backend's own tensor: twingrad's on NumPy, torch.Tensor on torch
States = dict[str, dict[str, Any]]  # of each parameter: "step" and the optimizer's arrays


class LayerBackend(Protocol):
    """Computes layers on NumPy arrays: what the laws need, and what another package must bring.

    It may bring `optimizer_step`, as in Backend, and `supports(name, dtype) -> bool`; without
    `supports` it is asked for every layer. See docs/backends.md.
    """

    name: str

    def forward(self, spec: LayerSpec, inputs: Arrays, settings: Settings) -> Array:
        """Return the layer's output."""
        ...

    def vjp(
        self, spec: LayerSpec, inputs: Arrays, grad_y: Callable[[Array], Array], settings: Settings
    ) -> tuple[Array, Arrays]:
        """Return y, and the gradient of sum(grad_y(y) * y) for each differentiable input."""
        ...


class Backend(LayerBackend, Protocol):
    """Computes optimizers, too, and holds the tensors of a model."""

    tensor_type: type
    dtypes: tuple[str, ...]  # that a model may be built in

    def optimizer_step(
        self, spec: OptimizerSpec, params: Arrays, grads: Arrays, states: States, settings: Settings
    ) -> tuple[Arrays, States]:
        """Return new parameters and states; the arguments stay as they are."""
        ...

    def apply(self, spec: LayerSpec, inputs: Mapping[str, Any], settings: Settings) -> Tensor:
        """Return the layer's output as a tensor that backward() goes through."""
        ...

    def concat(self, tensors: list[Tensor], axis: int) -> Tensor:
        """Return the tensors joined along `axis`."""
        ...

    def tensor(
        self, array: Array, *, requires_grad: bool = False, device: str | None = None
    ) -> Tensor:
        """Return a new tensor that holds a copy of `array`."""
        ...

    def to_numpy(self, tensor: Tensor) -> Array:
        """Return a copy of the tensor's values."""
        ...

    def assign(self, tensor: Tensor, values: Array) -> None:
        """Put new values into a parameter, in place."""
        ...

    def draw_keep(
        self, draws: Draws, x: Tensor, shape: tuple[int, ...], p: float, native: bool
    ) -> Any:
        """Return booleans that are False with probability p: from `draws`, or natively."""
        ...

    def constant(self, array: Array, like: Tensor) -> Tensor:
        """Return an array as a tensor that gets no gradient, of the dtype and device of `like`."""
        ...

    def recompute(
        self,
        function: Callable[..., Tensor],
        inputs: tuple[Any, ...],
        parameters: tuple[Tensor, ...],
    ) -> Tensor:
        """Return function(*inputs); only inputs and parameters are kept until backward()."""
        ...

    def autocast(self, model: Any, dtype: str) -> AbstractContextManager[Any]:
        """Return a context in which products are computed in a narrower dtype, if it is one."""
        ...

    def compiled(self, model: Any) -> Callable[..., Any]:
        """Return the model, compiled where the backend can. Raises BackendError where not."""
        ...

    def parameter(self, array: Array, dtype: str, device: str | None) -> Tensor:
        """Return a parameter with these first values, rounded to `dtype`."""
        ...

    def shell(self, recipe: Module) -> Any:
        """Return a module of the recipe's class that has no attributes yet.

        It takes parameters and other modules as attributes, and knows them as its own.
        """
        ...

    def plain(self, value: Any) -> Any:
        """Return the values of a tensor or of an array, to compute with outside the tape."""
        ...

    def broadcast(self, array: Any, shape: tuple[int, ...]) -> Any:
        """Return what `plain` gave, repeated to a shape that it broadcasts to."""
        ...

    def updater(
        self, spec: OptimizerSpec
    ) -> Callable[[Sequence[Tensor], dict[Tensor, dict[str, Any]], Settings], None]:
        """Return what takes an optimizer's steps in place: update(params, state, settings).

        It changes the parameters that have a gradient, and their entries in `state`. One is asked
        for each group of parameters, so it may lay out their memory.
        """
        ...

    def optimizer_state(self, param: Tensor, step: int, arrays: Arrays) -> dict[str, Any]:
        """Return an entry for `state` that goes on after `step` steps with these arrays."""
        ...

    def detached(self, tensor: Tensor) -> Tensor:
        """Return a copy of an array of the optimizer's state: on NumPy an array."""
        ...

    def no_grad(self) -> AbstractContextManager[Any]:
        """Return a context in which nothing is recorded for backward()."""
        ...

    def clip_grad_norm(self, params: list[Tensor], max_norm: float) -> float:
        """Scale all gradients, in place, so that their joint norm is at most `max_norm`."""
        ...
