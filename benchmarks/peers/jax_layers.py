"""A layer in JAX, whatever the layer: compiled by itself, forward and backward as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from twingrad.benchmarks.layer_work import LayerWork
from twingrad.benchmarks.measure import Call
from twingrad.benchmarks.peers.jax_training import use_dtype


def call(layer: Callable[..., Any], work: LayerWork) -> Call:
    """Return what runs the layer, and its backward if that is asked.

    It returns y, or the gradients of the inputs that get one.
    """
    use_dtype(work.dtype)
    arrays = {name: jnp.array(array) for name, array in work.draw_inputs().items()}
    leaves = {name: arrays.pop(name) for name in work.leaves}

    def y_of(leaves: dict[str, Any], others: dict[str, Any]) -> Any:
        given = leaves | others
        return layer(*map(given.get, work.spec.inputs), **work.variant.settings)

    def gradients(leaves: dict[str, Any], others: dict[str, Any], grad_y: Any) -> Any:
        _, vjp = jax.vjp(lambda leaves: y_of(leaves, others), leaves)
        return vjp(grad_y)[0]

    if not work.backward:
        forward = jax.jit(y_of)
        return lambda: jax.block_until_ready(forward(leaves, arrays))
    both, grad_y = jax.jit(gradients), jnp.array(work.draw_grad_y())

    def forward_backward() -> list[Any]:
        grads = jax.block_until_ready(both(leaves, arrays, grad_y))
        return [grads[name] for name in work.leaves]

    return forward_backward
