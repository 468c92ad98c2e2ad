"""A training step in JAX: loss, gradient and AdamW compiled as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from twingrad.benchmarks.measure import Call
from twingrad.core.catalogue import OPTIMIZERS
from twingrad.core.spec import Array

Weights = dict[str, Any]


def use_dtype(dtype: str) -> None:
    """Let JAX compute in float64 if that is asked for; by itself it narrows to float32."""
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)


def training_step(loss: Callable[[Weights], Any], weights: Mapping[str, Array]) -> Call:
    """Return what takes a step of AdamW down `loss` from `weights`, and returns the loss."""
    settings = OPTIMIZERS["adamw"].defaults()
    lr, (beta1, beta2) = settings["lr"], settings["betas"]
    eps, weight_decay = settings["eps"], settings["weight_decay"]

    def update(weights: Weights, m: Weights, v: Weights, count: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(weights)
        count = count + 1
        m = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, m, grads)
        v = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, v, grads)
        weights = jax.tree.map(
            lambda w, m, v: (
                w * (1 - lr * weight_decay)
                - (lr / (1 - beta1**count) * m / (jnp.sqrt(v / (1 - beta2**count)) + eps))
            ),
            weights,
            m,
            v,
        )
        return (weights, m, v, count), value

    # The old weights and moments are given up, so that the new ones can take their place.
    compiled = jax.jit(update, donate_argnums=(0, 1, 2))
    values = {name: jnp.array(array) for name, array in weights.items()}
    dtype = next(iter(values.values())).dtype
    state: Any = (
        values,
        jax.tree.map(jnp.zeros_like, values),
        jax.tree.map(jnp.zeros_like, values),
        jnp.zeros((), dtype),
    )

    def step() -> Any:
        nonlocal state
        state, value = jax.block_until_ready(compiled(*state))
        return value

    return step
