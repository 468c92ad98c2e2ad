"""The table of handwritten kernels: a forward and a backward for every layer and operation."""

from collections.abc import Callable
from typing import Any, NamedTuple

from twingrad.backends.numpy_backend import (
    adamw,
    attention,
    bce_with_logits,
    cross_entropy,
    dropout,
    embedding,
    gelu,
    layer_norm,
    linear,
    log_softmax,
    relu,
    sgd,
    sigmoid,
    softmax,
    tanh,
)
from twingrad.backends.numpy_backend.operations import OPERATIONS
from twingrad.core.spec import Array


class Kernel(NamedTuple):
    """A layer's two handwritten passes."""

    forward: Callable[..., tuple[Array, Any]]
    backward: Callable[[Array, Any], tuple[Array | None, ...]]
    # Where some gradients can be left out: which of what forward saved the wanted ones need.
    spared: Callable[[Any, tuple[bool, ...]], Any] | None = None


LAYERS = {
    "linear": Kernel(linear.forward, linear.backward, linear.spared),
    "tanh": Kernel(tanh.forward, tanh.backward),
    "sigmoid": Kernel(sigmoid.forward, sigmoid.backward),
    "relu": Kernel(relu.forward, relu.backward),
    "gelu": Kernel(gelu.forward, gelu.backward),
    "softmax": Kernel(softmax.forward, softmax.backward),
    "log_softmax": Kernel(log_softmax.forward, log_softmax.backward),
    "layer_norm": Kernel(layer_norm.forward, layer_norm.backward),
    "attention": Kernel(attention.forward, attention.backward),
    "dropout": Kernel(dropout.forward, dropout.backward),
    "embedding": Kernel(embedding.forward, embedding.backward),
    "bce_with_logits": Kernel(bce_with_logits.forward, bce_with_logits.backward),
    "cross_entropy": Kernel(cross_entropy.forward, cross_entropy.backward),
}

KERNELS: dict[str, Kernel] = LAYERS | {
    name: Kernel(forward, backward) for name, (forward, backward) in OPERATIONS.items()
}

OPTIMIZERS: dict[str, Callable[..., tuple[str, ...]]] = {
    "adamw": adamw.step,
    "sgd": sgd.step,
}
