"""The table of layers in PyTorch: a forward each, which autograd differentiates."""

from collections.abc import Callable

from torch import Tensor

from twingrad.backends.torch_backend import (
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
from twingrad.backends.torch_backend.operations import OPERATIONS

LAYERS: dict[str, Callable[..., Tensor]] = {
    "linear": linear.forward,
    "tanh": tanh.forward,
    "sigmoid": sigmoid.forward,
    "relu": relu.forward,
    "gelu": gelu.forward,
    "softmax": softmax.forward,
    "log_softmax": log_softmax.forward,
    "layer_norm": layer_norm.forward,
    "attention": attention.forward,
    "dropout": dropout.forward,
    "embedding": embedding.forward,
    "bce_with_logits": bce_with_logits.forward,
    "cross_entropy": cross_entropy.forward,
}

KERNELS: dict[str, Callable[..., Tensor]] = LAYERS | OPERATIONS

OPTIMIZERS: dict[str, Callable[..., None]] = {
    "adamw": adamw.step,
    "sgd": sgd.step,
}
