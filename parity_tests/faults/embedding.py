"""Wrong kernels of embedding that the laws must catch."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.backends.numpy_backend import embedding
from twingrad.core.spec import Array
from twingrad.parity_tests.faults.table import fault


@fault("embedding", "backward", breaks=("the table gets all of the upstream",))
def where_the_last_wins(grad_y: Array, saved: Any) -> tuple[None, Array]:
    """Assigned instead of added up."""
    grad_weight = np.zeros((saved.rows, grad_y.shape[-1]), grad_y.dtype)
    grad_weight[saved.ids] = grad_y
    return None, grad_weight


@fault("embedding", "forward", breaks=("padding gets nothing, bit for bit",))
def of_zero_padding(ids: Array, weight: Array, padding_idx: int | None = None) -> tuple[Array, Any]:
    """The padding row is read as 0, whatever it holds."""
    y, saved = embedding.forward(ids, weight, padding_idx)
    return np.where((ids == padding_idx)[..., None], weight.dtype.type(0), y), saved
