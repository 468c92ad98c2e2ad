"""Wrong kernels of operations that the laws must catch."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.backends.numpy_backend import operations
from twingrad.backends.numpy_backend.kernels import Kernel
from twingrad.core.spec import Array
from twingrad.parity_tests.faults.table import fault

GETITEM = Kernel(*operations.OPERATIONS["getitem"])


@fault("getitem", "backward", called="data for gradient")
def getitem_gradient_is_the_data(grad: Array, saved: Any) -> tuple[Array | None, ...]:
    """The slice is handed on where its gradient should be: ones where x was read."""
    return GETITEM.backward(np.ones_like(grad), saved)


@fault("getitem", "backward", called="duplicates dropped")
def getitem_drops_duplicates(grad: Array, saved: Any) -> tuple[Array, ...]:
    """`grad_x[index] += grad` keeps the last of what was picked twice."""
    grad_x = np.zeros(saved.shapes[0], grad.dtype)
    grad_x[saved.setting] += grad
    return (grad_x,)
