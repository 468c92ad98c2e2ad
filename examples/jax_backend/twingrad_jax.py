"""JAX as a backend of twingrad: forward by jax.numpy, gradients by jax.vjp.

A layer is a function of its spec's inputs, None for one that is not given, and settings.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from twingrad import layer
from twingrad.core.layers.gelu import CUBIC
from twingrad.core.operations import NUMPY_NAMES
from twingrad.core.spec import Array, Arrays, LayerSpec, Settings

name = "jax"
Jax = jax.Array


def linear(x: Jax, weight: Jax, bias: Jax | None) -> Jax:
    return x @ weight.T if bias is None else x @ weight.T + bias


def tanh(x: Jax) -> Jax:
    # jnp.tanh errs by up to 4.7 ulp in float32 and 7 ulp in float64, on a CPU; 4 are allowed.
    wide = x.astype(jnp.float64)
    large = jnp.sign(wide) * (1 - 2 * jax.nn.sigmoid(-2 * jnp.abs(wide)))
    return jnp.where(jnp.abs(wide) < 1, jnp.tanh(wide), large).astype(x.dtype)


def relu(x: Jax) -> Jax:
    # jax.nn.relu stops the gradient at NaN. On a CPU x > 0 is false for the subnormal numbers.
    bits = x.view(f"int{8 * x.dtype.itemsize}")
    return jnp.where((bits > 0) | jnp.isnan(x), x, 0)


def gelu(x: Jax, approximate: str) -> Jax:
    # jax.nn.gelu multiplies 0 by infinity. Beyond 50 the gate is open or closed in every dtype.
    far = jnp.abs(x) >= 50
    size = jnp.where(far, 0, jnp.abs(x))
    if approximate == "none":
        closed = jax.lax.erfc(size / math.sqrt(2)) / 2
    else:  # (1 - tanh(z / 2)) / 2 is sigmoid(-z)
        closed = jax.nn.sigmoid(-math.sqrt(8 / math.pi) * (size + CUBIC * size**3))
    return jnp.where(far, relu(x), x * jnp.where(x > 0, 1 - closed, closed))


def softmax(x: Jax) -> Jax:
    shift, total = shifted(x)
    return jnp.exp(shift) / total


def log_softmax(x: Jax) -> Jax:
    shift, total = shifted(x)
    # What flows into an absent logit goes nowhere.
    return jnp.where(x == -jnp.inf, -jnp.inf, shift - jnp.log(total))


def shifted(x: Jax) -> tuple[Jax, Jax]:
    # In jax.nn, a row of -inf alone is shifted to NaN.
    top = jax.lax.stop_gradient(jnp.max(x, axis=-1, keepdims=True, initial=-jnp.inf))
    shift = x - jnp.where(top == -jnp.inf, 0, top)
    total = jnp.exp(shift).sum(axis=-1, keepdims=True)
    return shift, jnp.where(total == 0, 1, total)


def layer_norm(x: Jax, weight: Jax | None, bias: Jax | None, eps: float) -> Jax:
    # Shifted by an element of the row first: a constant row is centred to exactly 0.
    centred = x - jax.lax.stop_gradient(x[..., :1])
    centred = centred - mean(centred, -1, keepdim=True)
    y = centred / jnp.sqrt(mean(centred * centred, -1, keepdim=True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def attention(
    query: Jax, key: Jax, value: Jax, mask: Any, keep: Any, causal: bool, scale: Any, p: float
) -> Jax:
    scale = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else scale
    mask = jnp.broadcast_to(True if mask is None else mask, (*query.shape[:-1], key.shape[-2]))
    mask = jnp.tril(mask) if causal else mask
    # A masked pair is absent, whatever stands there, and 0 * NaN is not: so a key for each query.
    key = jnp.where(mask[..., None], key[..., None, :, :], 0)
    value = jnp.where(mask[..., None], value[..., None, :, :], 0)
    scores = jnp.einsum("...qd,...qkd->...qk", query, key) * scale
    weights = softmax(jnp.where(mask, scores, -jnp.inf))
    weights = weights if keep is None else dropout(weights, keep, p)
    return jnp.einsum("...qk,...qkv->...qv", weights, value)


def dropout(x: Jax, keep: Jax, p: float) -> Jax:
    return jnp.where(keep, x * (1 / (1 - p)), 0) if p < 1 else jnp.zeros_like(x)


def bce_with_logits(x: Jax, target: Jax, weight: Any, pos_weight: Any, reduction: str) -> Jax:
    positive = target if pos_weight is None else pos_weight * target
    # A factor of 0 keeps its part out of the loss, even where that part is infinite.
    yes = jnp.where(positive == 0, 0, positive * softplus(-x))
    no = jnp.where(target == 1, 0, (1 - target) * softplus(x))
    loss = yes + no if weight is None else weight * (yes + no)
    return {"none": lambda x: x, "sum": jnp.sum, "mean": mean}[reduction](loss)


def softplus(x: Jax) -> Jax:
    # The gradient of jax.nn.softplus, exp(x - y), cancels: it is off by up to 32 ulp.
    return jnp.log1p(jnp.exp(jnp.where(x > 0, -x, x))) + jnp.where(x > 0, x, 0)


def div(x: Jax, y: Jax) -> Jax:
    # By one number XLA multiplies with its reciprocal, which rounds twice.
    return x / jax.lax.optimization_barrier(jnp.broadcast_arrays(x, y)[1])


def mean(x: Jax, axis: Any = None, keepdim: bool = False) -> Jax:
    # jnp.mean of nothing is NaN.
    return jnp.sum(x, axis, keepdims=keepdim) / max(jnp.size(x, axis), 1)


MINE = (linear, tanh, relu, gelu, softmax, log_softmax, layer_norm, attention, dropout)
MINE = (*MINE, bce_with_logits, div, mean)
JNPS = ("add", "sub", "mul", "pow", "neg", "exp", "log", "sqrt", "matmul")
FUNCTIONS: dict[str, Callable[..., Jax]] = {
    f.__name__: jax.jit(f, static_argnames=[*layer(f.__name__).settings]) for f in MINE
}
FUNCTIONS |= {x: getattr(jnp, NUMPY_NAMES.get(x, x)) for x in (*JNPS, "reshape", "transpose")}
FUNCTIONS |= {
    "sigmoid": jax.nn.sigmoid,
    "sum": lambda x, axis, keepdim: jnp.sum(x, axis, keepdims=keepdim),
    "getitem": lambda x, index: x[index],
    "concat": lambda *arrays, axis: jnp.concatenate(arrays, axis),
}


def supports(name: str, dtype: str) -> bool:
    return name in FUNCTIONS and dtype in ("float32", "float64")


def forward(spec: LayerSpec, inputs: Mapping[str, Any], settings: Settings) -> Jax:
    arrays = [inputs.get(name) for name in (inputs if spec.variadic else spec.inputs)]
    with jax.enable_x64(True):
        return FUNCTIONS[spec.name](*jax.tree.map(jnp.asarray, arrays), **settings)


def vjp(spec: LayerSpec, inputs: Arrays, grad_y: Callable[..., Array], settings: Settings) -> Any:
    wanted = {name: inputs[name] for name in inputs if spec.variadic or name in spec.differentiable}
    with jax.enable_x64(True):
        y, pullback = jax.vjp(lambda x: forward(spec, inputs | x, settings), wanted)
        return y, pullback(jnp.asarray(grad_y(y)))[0]
