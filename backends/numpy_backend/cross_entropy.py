"""CrossEntropy: y = reduction(-sum(parts * log_softmax(x))), parts of weight[target] at target."""

from typing import NamedTuple

import numpy as np

from twingrad.backends.numpy_backend import log_softmax
from twingrad.backends.numpy_backend.blocks import rows
from twingrad.core.spec import Array


class Saved(NamedTuple):
    log_p: Array  # (rows, classes)
    places: Array  # (rows): where the targets are; 0 where not counted
    parts: Array  # (rows): how much of the loss is the target's own; 0 where not counted
    spread: Array  # (rows, classes) or (rows, 1): what smoothing gives every class
    divisor: float  # what the sum is divided by
    shape: tuple[int, ...]  # of x


def forward(
    x: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> tuple[Array, Saved]:
    """Return how much each target surprises the distribution that its logits stand for.

    Shapes: x (..., classes), target (...) of integers, weight (classes) -> y () or (...). With
    label smoothing s the target keeps 1 - s of its part, and s is spread over all classes.
    """
    classes, flat = x.shape[-1], target.reshape(-1)
    counted = flat != ignore_index
    logits = x.reshape(flat.size, classes)
    if not counted.all():
        logits = np.where(counted[:, None], logits, x.dtype.type(0))  # or a NaN there would spread
    log_p, _ = log_softmax.forward(logits)
    places = np.where(counted, flat, 0)
    each = np.ones(classes) if weight is None else weight.astype(np.float64)
    weights = np.where(counted, each[places], 0)
    parts = (1 - label_smoothing) * weights
    loss = _surprise(parts, np.take_along_axis(log_p, places[:, None], -1)[:, 0])
    spread = np.zeros((len(flat), 1))
    if label_smoothing:
        spread = counted[:, None] * (each * (label_smoothing / classes))
        loss += _surprise(spread, log_p).sum(axis=-1)
    divisor = float(weights.sum() or 1) if reduction == "mean" else 1.0
    y = loss.reshape(target.shape) if reduction == "none" else loss.sum() / divisor
    return np.asarray(y, x.dtype), Saved(log_p, places, parts, spread, divisor, x.shape)


def backward(grad_y: Array, saved: Saved) -> tuple[Array, None, None]:
    """Return grad_x, and None for target and weight, which are data.

    The loss is linear in log_p, so grad_log_p = -grad_y * parts / divisor.
    """
    log_p, places, parts, spread, divisor, shape = saved
    g = np.broadcast_to(grad_y.reshape(-1, 1) / divisor, (len(places), 1))

    def project(
        log_p: Array, places: Array, parts: Array, spread: Array, g: Array, grad_x: Array
    ) -> None:
        numbers, places = np.arange(len(places)), places[:, 0]
        own = g * np.where(log_p[numbers, places] == -np.inf, 0, parts[:, 0])[:, None]
        if spread.any():
            grad_log_p = -g * np.broadcast_to(spread, log_p.shape)
            grad_log_p[numbers, places] -= own[:, 0]
            log_softmax.project(grad_log_p, log_p, grad_x)
            return
        p = log_p.astype(np.float64)
        np.exp(p, out=p)
        p *= own
        p[numbers, places] -= own[:, 0]
        np.copyto(grad_x, p, casting="same_kind")

    grad_x = np.empty(log_p.shape, log_p.dtype)
    rows(project, log_p, places[:, None], parts[:, None], spread, g, grad_x)
    return grad_x.reshape(shape), None, None


def _surprise(parts: Array, log_p: Array) -> Array:
    # What has no part in the loss is left out, even where its log probability is -inf.
    return np.where(parts == 0, 0, -parts * log_p)
