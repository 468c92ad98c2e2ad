"""The layers in JAX, each compiled by itself, forward and backward as one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from twingrad.benchmarks.layer_work import LayerWork
from twingrad.benchmarks.measure import Call
from twingrad.benchmarks.peers.jax_training import use_dtype


def call(work: LayerWork) -> Call:
    """Return what runs the layer, and its backward if that is asked.

    It returns y, or the gradients of the inputs that get one.
    """
    use_dtype(work.dtype)
    arrays = {name: jnp.array(array) for name, array in work.draw_inputs().items()}
    leaves = {name: arrays.pop(name) for name in work.leaves}

    def layer(leaves: dict[str, Any], others: dict[str, Any]) -> Any:
        return LAYERS[work.spec.name](**leaves, **others, **work.variant.settings)

    def gradients(leaves: dict[str, Any], others: dict[str, Any], grad_y: Any) -> Any:
        _, vjp = jax.vjp(lambda leaves: layer(leaves, others), leaves)
        return vjp(grad_y)[0]

    if not work.backward:
        forward = jax.jit(layer)
        return lambda: jax.block_until_ready(forward(leaves, arrays))
    both, grad_y = jax.jit(gradients), jnp.array(work.draw_grad_y())

    def forward_backward() -> list[Any]:
        grads = jax.block_until_ready(both(leaves, arrays, grad_y))
        return [grads[name] for name in work.leaves]

    return forward_backward


def linear(x: Any, weight: Any, bias: Any) -> Any:
    """Return x (..., in) @ weight.T + bias, weight being (out, in)."""
    return x @ weight.T + bias


def layer_norm(x: Any, weight: Any, bias: Any, eps: float = 1e-5) -> Any:
    """Return x (..., features), each row normalised, scaled and shifted."""
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred * centred).mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + eps) * weight + bias


def cross_entropy(x: Any, target: Any) -> Any:
    """Return the mean over the targets (targets) of x's rows (targets, classes)."""
    log_p = jax.nn.log_softmax(x)
    return -jnp.take_along_axis(log_p, target[:, None], axis=-1).mean()


def attention(
    query: Any,
    key: Any,
    value: Any,
    causal: bool = False,
    mask: Any = None,
    keep: Any = None,
    p: float = 0.0,
) -> Any:
    """Return attention (..., q, v)."""
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if causal:
        mask = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    weights = jax.nn.softmax(scores if mask is None else jnp.where(mask, scores, -jnp.inf))
    return (weights if keep is None else weights * keep / (1 - p)) @ value


def bce_with_logits(x: Any, target: Any) -> Any:
    """Return the mean over all of x, like target."""
    return (jnp.logaddexp(x, 0.0) - x * target).mean()


LAYERS: dict[str, Callable[..., Any]] = {
    "linear": linear,
    "tanh": lambda x: jnp.tanh(x),
    "sigmoid": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "gelu": lambda x, approximate="none": jax.nn.gelu(x, approximate=approximate == "tanh"),
    "softmax": jax.nn.softmax,
    "log_softmax": jax.nn.log_softmax,
    "layer_norm": layer_norm,
    "attention": attention,
    "embedding": lambda ids, weight: weight[ids],
    "dropout": lambda x, keep, p: x * keep / (1 - p),
    "bce_with_logits": bce_with_logits,
    "cross_entropy": cross_entropy,
}
