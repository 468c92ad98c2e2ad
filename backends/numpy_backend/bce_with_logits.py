"""BCEWithLogits: y = reduction(weight * (max(x, 0) - x * target + log(1 + e^-|x|)))."""

from typing import NamedTuple

import numpy as np

from twingrad.backends.numpy_backend.blocks import elementwise
from twingrad.core.spec import Array


class Saved(NamedTuple):
    inputs: dict[str, Array]  # x, target, and the weights that were given, all of x's shape
    divisor: int  # of the sum


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
    given = {"x": x, "target": target, "weight": weight, "pos_weight": pos_weight}
    inputs = {
        name: a if a.shape == x.shape else np.broadcast_to(a, x.shape)
        for name, a in given.items()
        if a is not None
    }
    # The mean of nothing is 0, and not 0 / 0.
    saved = Saved(inputs, max(x.size, 1) if reduction == "mean" else 1)
    if reduction == "none":
        y = np.empty(x.shape, x.dtype)

        def write(y: Array, *arrays: Array) -> None:
            y[...] = _losses(**dict(zip(inputs, arrays, strict=True)))

        elementwise(write, y, *inputs.values())
        return y, saved

    def add_up(*arrays: Array) -> float:
        return float(_losses(**dict(zip(inputs, arrays, strict=True))).sum())

    total = sum(elementwise(add_up, *inputs.values()))
    return np.asarray(total / saved.divisor, x.dtype), saved


def backward(grad_y: Array, saved: Saved) -> tuple[Array, None, None, None]:
    """Return grad_x, and None for the target and its weights, which are data.

    grad_x = weight * ((1 - target) * sigmoid(x) - pos_weight * target * sigmoid(-x)), over the
    count if the reduction is a mean.
    """
    inputs, divisor = saved
    x = inputs["x"]
    grad_x = np.empty(x.shape, x.dtype)

    def write(grad_x: Array, grad_y: Array, *arrays: Array) -> None:
        slopes = _slopes(**dict(zip(inputs, arrays, strict=True)))
        slopes *= grad_y
        np.divide(slopes, divisor, out=grad_x, casting="same_kind")

    elementwise(write, grad_x, np.broadcast_to(grad_y, x.shape), *inputs.values())
    return grad_x, None, None, None


def _losses(
    x: Array, target: Array, weight: Array | None = None, pos_weight: Array | None = None
) -> Array:
    """Return the loss of each element of a block, in float64."""
    positive, negative = _parts(target, pos_weight)
    # log(1 + e^-|x|) never overflows; |x| carries the rest of log(1 + e^x) or log(1 + e^-x).
    size = np.abs(x, dtype=np.float64)
    tail = np.log1p(np.exp(-size))
    wrong_side = np.where(x < 0, positive, negative)
    # Where the target agrees with the sign, |x| has no part in the loss, not even as 0 * inf.
    losses: Array = (positive + negative) * tail + np.where(wrong_side == 0, 0, wrong_side * size)
    return losses if weight is None else weight * losses


def _slopes(
    x: Array, target: Array, weight: Array | None = None, pos_weight: Array | None = None
) -> Array:
    """Return the derivative of each element's loss, in float64."""
    positive, negative = _parts(target, pos_weight)
    e = np.exp(-np.abs(x, dtype=np.float64))
    large, small = 1 / (1 + e), e / (1 + e)
    is_below = x < 0
    slopes = negative * np.where(is_below, small, large)
    slopes -= positive * np.where(is_below, large, small)
    return slopes if weight is None else weight * slopes


def _parts(target: Array, pos_weight: Array | None) -> tuple[Array, Array]:
    """Return the weights of log(1 + e^-x) and of log(1 + e^x) in the loss, in float64."""
    wide = target.astype(np.float64)
    return wide if pos_weight is None else pos_weight * wide, 1 - wide
