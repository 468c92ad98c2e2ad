"""Wrong kernels of cross_entropy that the laws must catch."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.backends.numpy_backend import cross_entropy
from twingrad.core.spec import Array
from twingrad.parity_tests.faults.table import fault


@fault("cross_entropy", "backward", breaks=("what is ignored is absent, bit for bit",))
def where_all_count(grad_y: Array, saved: Any) -> tuple[Array, None, None]:
    """Logits of ignored targets get a gradient as well."""
    grad_x, *_ = cross_entropy.backward(grad_y, saved)
    uncounted = (saved.parts == 0).reshape(grad_x.shape[:-1])
    return np.where(uncounted[..., None], grad_x.dtype.type(1), grad_x), None, None


@fault("cross_entropy", "forward", breaks=("the loss is -log_softmax",))
def of_probabilities(x: Array, target: Array, **others: Any) -> tuple[Array, Any]:
    """log(p + 1e-7), as losses of probabilities have it."""
    y, saved = cross_entropy.forward(x, target, **others)
    return -np.log(np.exp(-y) + y.dtype.type(1e-7)), saved


@fault("cross_entropy", "backward", breaks=("gradients of a row cancel",))
def without_softmax(grad_y: Array, saved: Any) -> tuple[Array, None, None]:
    """-1 at the target, and nothing elsewhere."""
    grad_x, *_ = cross_entropy.backward(grad_y, saved)
    return np.minimum(grad_x, 0), None, None
