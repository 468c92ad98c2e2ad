"""Cross entropy of logits with integer targets, or a part of each class."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.core.arguments import check_setting
from twingrad.core.catalogue import register_layer, spec_of
from twingrad.core.contract import Tensor
from twingrad.core.layers.log_softmax import log_softmax
from twingrad.core.module import Module, apply
from twingrad.core.spec import REDUCTION, Array, Integer, LayerSpec, Number


def cross_entropy(
    x: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Array:
    counted = target != ignore_index
    x = np.where(counted[..., None], x, 0)  # what is not counted is absent, NaN or not
    weight = np.ones(x.shape[-1], x.real.dtype) if weight is None else weight
    places = np.where(counted, target, 0)[..., None]
    surprise = -log_softmax(x)
    weights = np.where(counted, weight[places[..., 0]], 0)
    # A part of 0 takes its class out of the loss, even where the surprise is infinite.
    smoothing = x.real.dtype.type(label_smoothing)
    own = (1 - smoothing) * weights
    loss = np.where(own == 0, 0, own * np.take_along_axis(surprise, places, -1)[..., 0])
    if label_smoothing:
        spread = smoothing / x.shape[-1] * weight
        loss = loss + np.where(spread == 0, 0, spread * surprise).sum(axis=-1)
    loss = np.where(counted, loss, 0)
    if reduction == "none":
        return loss
    total, count = loss.sum(), weights.sum()
    return np.asarray(total / count if reduction == "mean" and count else total)


SPEC = LayerSpec(
    name="cross_entropy",
    formula="y = reduction(-weight[target] * log_softmax(x)[target])",
    inputs={"x": "... classes", "target": "...", "weight": "classes"},
    optional=("weight",),
    constants=("weight",),
    indices={"target": "classes"},
    output="... or scalar",
    source="torch.nn.functional.cross_entropy",
    definition=cross_entropy,
    settings={
        "ignore_index": Integer(-100),
        "label_smoothing": Number(0.0, low=0.0, high=1.0),
        "reduction": REDUCTION,
    },
    meaning=(
        "a target of ignore_index is not counted; the mean is weighted, over the counted targets, "
        "and 0 if there are none; label_smoothing s gives each class s / classes of the target; a "
        "logit of -inf is absent, as in log_softmax: its gradient is exactly 0"
    ),
)
register_layer(SPEC)


class CrossEntropyLoss(Module):
    """Cross entropy of integer targets with logits; weight is an array, a number for each class.

    Shapes: x (N, classes) or (classes), or (N, classes, d1, ...) as in torch, and target the same
    without classes.
    """

    def __init__(
        self,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value in (
            ("ignore_index", ignore_index),
            ("reduction", reduction),
            ("label_smoothing", label_smoothing),
        ):
            check_setting(spec_of("cross_entropy"), name, value)
        self.weight, self.ignore_index = weight, ignore_index
        self.reduction, self.label_smoothing = reduction, label_smoothing

    def forward(self, x: Any, target: Any) -> Tensor:
        for axis in range(1, x.ndim - 1):
            x = x.transpose(axis, axis + 1)  # the classes move to the end
        return apply(
            self,
            "cross_entropy",
            {"x": x, "target": target, "weight": self.weight},
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}, ignore_index={self.ignore_index}"
