"""Wrong kernels of dropout that the laws must catch."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.backends.numpy_backend import dropout
from twingrad.core.spec import Array
from twingrad.parity_tests.faults.table import fault


@fault(
    "dropout",
    "backward",
    called="gradient not scaled",
    breaks=("both passes share the mask, bit for bit",),
)
def without_scale(grad_y: Array, saved: Any) -> tuple[Array, None]:
    """The gradient is dropped, but not scaled up."""
    return np.where(saved.keep, grad_y, grad_y.dtype.type(0)), None


@fault("dropout", "forward", breaks=("the share that is kept is 1 - p",))
def with_the_mask_inverted(x: Array, keep: Array, p: float = 0.5) -> tuple[Array, Any]:
    """True taken for dropped."""
    return dropout.forward(x, ~keep, p)
