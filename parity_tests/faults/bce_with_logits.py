"""Wrong kernels of bce_with_logits that the laws must catch."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.backends.numpy_backend import bce_with_logits
from twingrad.core.spec import Array
from twingrad.parity_tests.faults.table import fault


@fault("bce_with_logits", "forward", called="log of sigmoid")
def naive(x: Array, target: Array, reduction: str = "mean", **others: Any) -> tuple[Array, Any]:
    """The logarithm of a rounded sigmoid: log(0) for logits that are far out."""
    y = 1 / (1 + np.exp(-x))
    loss: Array = -(target * np.log(y) + (1 - target) * np.log(1 - y))
    _, saved = bce_with_logits.forward(x, target, reduction=reduction, **others)
    if reduction == "none":
        return loss, saved
    return np.asarray(loss.mean() if reduction == "mean" else loss.sum()), saved


@fault("bce_with_logits", "backward", called="reduction ignored", breaks=("a sum is n means",))
def backward_without_reduction(grad_y: Array, saved: Any) -> tuple[Array | None, ...]:
    """The gradient is divided by the rows, whatever the reduction and the columns are."""
    grad_x, *others = bce_with_logits.backward(grad_y, saved._replace(divisor=1))
    return (grad_x / max(len(np.atleast_1d(saved.inputs["x"])), 1), *others)


@fault("bce_with_logits", "forward", breaks=("(x, 0) less (x, 1) is x",))
def of_a_clipped_sigmoid(x: Array, target: Array, **others: Any) -> tuple[Array, Any]:
    """Logits beyond 20 count as 20."""
    return bce_with_logits.forward(np.clip(x, -20, 20), target, **others)
