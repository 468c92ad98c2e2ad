"""Binary cross entropy of logits, as torch.nn.BCEWithLogitsLoss."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.core.arguments import check_setting
from twingrad.core.catalogue import register_layer, spec_of
from twingrad.core.contract import Tensor
from twingrad.core.module import Module, apply
from twingrad.core.spec import REDUCTION, Array, LayerSpec


def bce_with_logits(
    x: Array,
    target: Array,
    weight: Array | None = None,
    pos_weight: Array | None = None,
    reduction: str = "mean",
) -> Array:
    positive = target if pos_weight is None else pos_weight * target
    # A factor of 0 keeps its part out of the loss, even where that part is infinite; not if NaN.
    number = ~np.isnan(x.real)
    yes = np.where((positive == 0) & number, 0, positive * _softplus(-x))
    no = np.where((target == 1) & number, 0, (1 - target) * _softplus(x))
    loss: Array = yes + no
    loss = loss if weight is None else weight * loss
    if reduction == "none":
        return loss
    total = loss.sum()
    # Nothing to average is a loss of 0, as for a sum, and never 0 / 0.
    return np.asarray(total / loss.size if reduction == "mean" and loss.size else total)


def _softplus(x: Array) -> Array:
    # log(1 + e^x), written so that no exponent is positive.
    tail = np.log1p(np.exp(np.where(x.real > 0, -x, x)))
    return tail + np.where(x.real > 0, x, 0)


SPEC = LayerSpec(
    name="bce_with_logits",
    formula="y = reduction(weight * (max(x, 0) - x * target + log(1 + e^-|x|)))",
    inputs={"x": "...", "target": "...", "weight": "...", "pos_weight": "..."},
    optional=("weight", "pos_weight"),
    broadcast=("weight", "pos_weight"),
    constants=("target", "weight", "pos_weight"),
    labels=("target",),
    output="... or scalar",
    source="torch.nn.functional.binary_cross_entropy_with_logits",
    definition=bce_with_logits,
    settings={"reduction": REDUCTION},
    meaning=(
        "right at x = +-inf; targets outside [0, 1] are allowed and extrapolate the formula; "
        "pos_weight multiplies the part of a target's 1; the mean of nothing is 0"
    ),
)
register_layer(SPEC)


class BCEWithLogitsLoss(Module):
    """Cross entropy of 0/1 targets with logits; weight and pos_weight are arrays to multiply by."""

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__()
        check_setting(spec_of("bce_with_logits"), "reduction", reduction)
        self.weight, self.reduction, self.pos_weight = weight, reduction, pos_weight

    def forward(self, x: Any, target: Any) -> Tensor:
        inputs = {"x": x, "target": target, "weight": self.weight, "pos_weight": self.pos_weight}
        return apply(self, "bce_with_logits", inputs, reduction=self.reduction)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"
