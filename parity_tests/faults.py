"""Faults to plant: wrong kernels that the laws must catch, generic ones and well-known ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from twingrad.backends.numpy_backend import (
    adamw,
    attention,
    bce_with_logits,
    gelu,
    layer_norm,
    linear,
    operations,
    sigmoid,
    softmax,
    tanh,
)
from twingrad.backends.numpy_backend.kernels import Kernel
from twingrad.core.spec import Array, Arrays

# What can happen to any tensor. The smallest factor is far inside the tolerances of the field.
DISTORTIONS: dict[str, Callable[[Array], Array]] = {
    "sign flipped": lambda x: -x,
    "all zero": np.zeros_like,
    "0.0001 % too large": lambda x: x * x.dtype.type(1.000001),
    "last element lost": lambda x: np.where(np.arange(x.size).reshape(x.shape) == x.size - 1, 0, x),
}


def distorted_output(honest: Kernel, distort: Callable[[Array], Array]) -> Kernel:
    """Return the kernel with a fault in y alone."""

    def forward(*args: Any, **kwargs: Any) -> tuple[Array, Any]:
        y, saved = honest.forward(*args, **kwargs)
        return distort(np.asarray(y)), saved

    return honest._replace(forward=forward)


def distorted_gradient(honest: Kernel, position: int, distort: Callable[[Array], Array]) -> Kernel:
    """Return the kernel with a fault in the gradient of one input alone."""

    def backward(grad_y: Array, saved: Any) -> tuple[Array | None, ...]:
        grads = list(honest.backward(grad_y, saved))
        grad = grads[position]
        grads[position] = None if grad is None else distort(np.asarray(grad))
        return tuple(grads)

    return honest._replace(backward=backward)


# Well-known faults, each with the layer it belongs to


def naive_sigmoid(x: Array) -> tuple[Array, Any]:
    """e^-x overflows for x far below 0."""
    return 1 / (1 + np.exp(-x)), sigmoid.forward(x)[1]


def naive_tanh(x: Array) -> tuple[Array, Any]:
    """Infinity over infinity for x far below 0, and few digits near 0."""
    e = np.exp(-2 * x)
    return (1 - e) / (1 + e), tanh.forward(x)[1]


def tanh_gradient_from_y(grad_y: Array, saved: Any) -> tuple[Array]:
    """1 - y^2 has no digits left once y has rounded to 1: what autograd libraries compute."""
    y, _ = tanh.forward(saved.x)
    return (grad_y * (1 - y * y),)


def layer_norm_of_one_pass(
    x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> tuple[Array, Any]:
    """The variance as mean(x^2) - mean(x)^2, which cancels where the mean is large."""
    mean = x.mean(axis=-1, keepdims=True)
    variance = np.maximum((x * x).mean(axis=-1, keepdims=True) - mean * mean, 0)
    y = (x - mean) / np.sqrt(variance + eps)
    y = y if weight is None else y * weight
    return (y if bias is None else y + bias).astype(x.dtype), layer_norm.forward(
        x, weight, bias, eps
    )[1]


def getitem_gradient_is_the_data(grad: Array, saved: Any) -> tuple[Array | None, ...]:
    """The slice is handed on where its gradient should be: ones where x was read."""
    return getitem_kernel.backward(np.ones_like(grad), saved)


def getitem_drops_duplicates(grad: Array, saved: Any) -> tuple[Array, ...]:
    """`grad_x[index] += grad` keeps the last of what was picked twice."""
    grad_x = np.zeros(saved.shapes[0], grad.dtype)
    grad_x[saved.setting] += grad
    return (grad_x,)


def naive_bce(x: Array, target: Array, reduction: str = "mean", **others: Any) -> tuple[Array, Any]:
    """The logarithm of a rounded sigmoid: log(0) for logits that are far out."""
    y = 1 / (1 + np.exp(-x))
    loss: Array = -(target * np.log(y) + (1 - target) * np.log(1 - y))
    _, saved = bce_with_logits.forward(x, target, reduction=reduction, **others)
    if reduction == "none":
        return loss, saved
    return np.asarray(loss.mean() if reduction == "mean" else loss.sum()), saved


def bce_backward_without_reduction(grad_y: Array, saved: Any) -> tuple[Array | None, ...]:
    """The gradient is divided by the rows, whatever the reduction and the columns are."""
    grad_x, *others = bce_with_logits.backward(grad_y, saved._replace(divisor=1))
    return (grad_x / max(len(np.atleast_1d(saved.inputs["x"])), 1), *others)


def layer_norm_of_unbiased_std(
    x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> tuple[Array, Any]:
    """Divided by features - 1, and eps outside the root."""
    std = x.std(axis=-1, ddof=1, keepdims=True) if x.shape[-1] > 1 else np.zeros_like(x)
    xhat = (x - x.mean(axis=-1, keepdims=True)) / (std + eps)
    y = xhat if weight is None else xhat * weight
    _, saved = layer_norm.forward(x, weight, bias, eps)
    return y if bias is None else y + bias, saved


def layer_norm_backward_with_one_projection(grad_y: Array, saved: Any) -> tuple[Array | None, ...]:
    """The mean moves with x, but the variance is taken for a constant."""
    g = grad_y if saved.weight is None else grad_y * saved.weight
    grad_x = saved.inv_std * (g - g.mean(axis=-1, keepdims=True))
    return (grad_x, *layer_norm.backward(grad_y, saved)[1:])


def gelu_with_a_typing_error(x: Array, approximate: str = "none") -> tuple[Array, Any]:
    """The cubic's constant written as 0.44715."""
    y, saved = gelu.forward(x, approximate)
    if approximate == "tanh":
        u = np.sqrt(2 / np.pi) * (x + 0.44715 * x**3)
        y = (0.5 * x * (1 + np.tanh(u))).astype(x.dtype)
    return y, saved


def softmax_without_the_sum(grad_y: Array, saved: Any) -> tuple[Array]:
    """The rows' common part is not taken out."""
    return (saved.y * grad_y,)


def softmax_backward_for_ones(grad_y: Array, saved: Any) -> tuple[Array]:
    """Wrong by a factor of -3, which an upstream gradient of ones would never show."""
    (grad_x,) = softmax.backward(grad_y, saved)
    return (-3 * grad_x,)


def attention_without_scale(query: Array, *args: Any, **kwargs: Any) -> tuple[Array, Any]:
    """1 / sqrt(d) forgotten."""
    kwargs["scale"] = 1.0 if kwargs.get("scale") is None else kwargs["scale"]
    return attention.forward(query, *args, **kwargs)


def attention_with_the_diagonal_hidden(
    query: Array, key: Array, value: Array, mask: Any = None, causal: bool = False, **kwargs: Any
) -> tuple[Array, Any]:
    """Causal by one too many: no query sees its own key."""
    if causal:
        strict = np.tril(np.ones((query.shape[-2], key.shape[-2]), bool), -1)
        mask = strict if mask is None else mask & strict
    return attention.forward(query, key, value, mask, causal=causal, **kwargs)


def attention_with_the_mask_inverted(
    query: Array, key: Array, value: Array, mask: Any = None, **kwargs: Any
) -> tuple[Array, Any]:
    """True taken for hidden."""
    return attention.forward(query, key, value, None if mask is None else ~mask, **kwargs)


def linear_with_bias_averaged(grad_y: Array, saved: Any) -> tuple[Array | None, ...]:
    """The bias' gradient is a mean over the rows, not their sum."""
    grad_x, grad_weight, grad_bias = linear.backward(grad_y, saved)
    rows = max(grad_y.size // max(grad_y.shape[-1], 1), 1)
    return (
        grad_x,
        grad_weight,
        None if grad_bias is None else grad_bias / grad_bias.dtype.type(rows),
    )


def dropout_without_scale(grad_y: Array, saved: Any) -> tuple[Array, None]:
    """The gradient is dropped, but not scaled up."""
    return np.where(saved.keep, grad_y, grad_y.dtype.type(0)), None


getitem_kernel = Kernel(*operations.OPERATIONS["getitem"])

# name: layer, the pass that is replaced, and what replaces it
WELL_KNOWN: dict[str, tuple[str, str, Callable[..., Any]]] = {
    "overflow in tanh": ("tanh", "forward", naive_tanh),
    "one-pass variance": ("layer_norm", "forward", layer_norm_of_one_pass),
    "data for gradient": ("getitem", "backward", getitem_gradient_is_the_data),
    "duplicates dropped": ("getitem", "backward", getitem_drops_duplicates),
    "log of sigmoid": ("bce_with_logits", "forward", naive_bce),
    "reduction ignored": ("bce_with_logits", "backward", bce_backward_without_reduction),
    "unbiased deviation": ("layer_norm", "forward", layer_norm_of_unbiased_std),
    "one projection": ("layer_norm", "backward", layer_norm_backward_with_one_projection),
    "wrong constant": ("gelu", "forward", gelu_with_a_typing_error),
    "sum forgotten": ("softmax", "backward", softmax_without_the_sum),
    "invisible to ones": ("softmax", "backward", softmax_backward_for_ones),
    "scale forgotten": ("attention", "forward", attention_without_scale),
    "diagonal hidden": ("attention", "forward", attention_with_the_diagonal_hidden),
    "mask inverted": ("attention", "forward", attention_with_the_mask_inverted),
    "bias averaged": ("linear", "backward", linear_with_bias_averaged),
    "gradient not scaled": ("dropout", "backward", dropout_without_scale),
}


def adamw_with_an_extra_step(
    weight: Array, grad: Array, state: Arrays, step: int, **settings: Any
) -> tuple[str, ...]:
    """A plain gradient step is taken on top."""
    used = adamw.step(weight, grad, state, step, **settings)
    weight -= settings["lr"] * grad
    return used


def adamw_with_stale_moments(
    weight: Array, grad: Array, state: Arrays, step: int, **settings: Any
) -> tuple[str, ...]:
    """The weight moves by the moments of the step before."""
    stale, before = weight.copy(), {name: array.copy() for name, array in state.items()}
    adamw.step(stale, np.zeros_like(grad), before, step, **settings)
    used = adamw.step(weight, grad, state, step, **settings)
    weight[...] = stale
    return used


def adamw_without_decay(
    weight: Array, grad: Array, state: Arrays, step: int, **settings: Any
) -> tuple[str, ...]:
    """weight_decay is taken and never used."""
    return adamw.step(weight, grad, state, step, **{**settings, "weight_decay": 0.0})


def adamw_with_eps_inside(
    weight: Array, grad: Array, state: Arrays, step: int, **settings: Any
) -> tuple[str, ...]:
    """eps is added before the second moment's bias is corrected."""
    scale = np.sqrt(1 - settings["betas"][1] ** step)
    return adamw.step(weight, grad, state, step, **{**settings, "eps": settings["eps"] / scale})


ADAMW_FAULTS = {
    "an extra step": adamw_with_an_extra_step,
    "stale moments": adamw_with_stale_moments,
    "decay ignored": adamw_without_decay,
    "eps inside": adamw_with_eps_inside,
}
