"""BCEWithLogits: y = reduction(weight * (max(x, 0) - x * target + log(1 + e^-|x|)))."""

from typing import NamedTuple

import numpy as np

from twingrad.core.spec import Array


class Saved(NamedTuple):
    x: Array
    target: Array
    weight: Array | None
    pos_weight: Array | None
    reduction: str


def forward(
    x: Array,
    target: Array,
    weight: Array | None = None,
    pos_weight: Array | None = None,
    reduction: str = "mean",
) -> tuple[Array, Saved]:
    """Return the cross entropy of each target with the probability that its logit stands for.

    Shapes: x and target (...), weight and pos_weight broadcastable to it -> y () or (...).
    """
    saved = Saved(x, target, weight, pos_weight, reduction)
    positive, negative = _weights(saved)
    # log(1 + e^-|x|) never overflows; |x| carries the rest of log(1 + e^x) or log(1 + e^-x).
    size = np.abs(x, dtype=np.float64)
    tail = np.log1p(np.exp(-size))
    wrong_side = np.where(x < 0, positive, negative)
    # Where the target agrees with the sign, |x| has no part in the loss, not even as 0 * inf.
    loss = (positive + negative) * tail + np.where(wrong_side == 0, 0, wrong_side * size)
    loss = loss if weight is None else weight * loss
    if reduction == "none":
        return loss.astype(x.dtype), saved
    total = loss.sum()
    return np.asarray(total / _count(saved), x.dtype), saved


def backward(grad_y: Array, saved: Saved) -> tuple[Array, None, None, None]:
    """Return grad_x, and None for the target and its weights, which are data.

    grad_x = weight * ((1 - target) * sigmoid(x) - pos_weight * target * sigmoid(-x)), over the
    count if the reduction is a mean.
    """
    x, _, weight, _, _ = saved
    positive, negative = _weights(saved)
    e = np.exp(-np.abs(x, dtype=np.float64))
    large, small = 1 / (1 + e), e / (1 + e)
    grad_x = negative * np.where(x < 0, small, large) - positive * np.where(x < 0, large, small)
    grad_x = grad_x if weight is None else weight * grad_x
    return (grad_y * grad_x / _count(saved)).astype(x.dtype), None, None, None


def _weights(saved: Saved) -> tuple[Array, Array]:
    """Return the weights of log(1 + e^-x) and of log(1 + e^x) in the loss, in float64."""
    target = saved.target.astype(np.float64)
    return target if saved.pos_weight is None else saved.pos_weight * target, 1 - target


def _count(saved: Saved) -> int:
    """Return what the summed loss is divided by; the mean of nothing is 0 and not 0 / 0."""
    return max(saved.x.size, 1) if saved.reduction == "mean" else 1
