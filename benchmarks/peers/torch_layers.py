"""Every layer in plain torch: its function in torch.nn.functional, or a line that stands for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from twingrad.benchmarks.layer_work import LayerWork, take_gradients
from twingrad.benchmarks.measure import Call
from twingrad.core.spec import Settings


def call(work: LayerWork) -> Call:
    """Return what runs the layer, and its backward if that is asked.

    It returns y, or the gradients of the inputs that get one.
    """
    tensors = {
        name: torch.from_numpy(array).requires_grad_(name in work.leaves)
        for name, array in work.draw_inputs().items()
    }
    forward: Any = partial(LAYERS[work.spec.name], **tensors, settings=work.variant.settings)
    if not work.backward:
        return lambda: forward()
    grad_y = torch.from_numpy(work.draw_grad_y())

    def forward_backward() -> Sequence[Any]:
        forward().backward(grad_y)
        return take_gradients([tensors[name] for name in work.leaves])

    return forward_backward


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    settings: Settings,
    mask: Tensor | None = None,
    keep: Tensor | None = None,
) -> Any:
    """Return attention (..., q, v); torch's own function draws what it drops by itself."""
    if keep is None:
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=settings.get("causal", False)
        )
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(-1) * keep / (1 - settings["p"]) @ value


def dropout(x: Tensor, keep: Tensor, settings: Settings) -> Any:
    """Return x (...) where `keep` is True, scaled; torch's own function draws by itself."""
    return x * keep / (1 - settings["p"])


LAYERS: dict[str, Callable[..., Any]] = {
    "linear": lambda x, weight, bias, settings: F.linear(x, weight, bias),
    "tanh": lambda x, settings: torch.tanh(x),
    "sigmoid": lambda x, settings: torch.sigmoid(x),
    "relu": lambda x, settings: F.relu(x),
    "gelu": lambda x, settings: F.gelu(x, **settings),
    "softmax": lambda x, settings: F.softmax(x, -1),
    "log_softmax": lambda x, settings: F.log_softmax(x, -1),
    "layer_norm": lambda x, weight, bias, settings: F.layer_norm(
        x, weight.shape, weight, bias, **settings
    ),
    "attention": attention,
    "embedding": lambda ids, weight, settings: F.embedding(ids, weight),
    "dropout": dropout,
    "bce_with_logits": lambda x, target, settings: F.binary_cross_entropy_with_logits(x, target),
    "cross_entropy": lambda x, target, settings: F.cross_entropy(x, target),
}
