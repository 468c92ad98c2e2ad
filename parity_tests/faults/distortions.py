"""What can go wrong with any tensor: faults that are planted in all kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from twingrad.backends.numpy_backend.kernels import Kernel
from twingrad.core.spec import Array

# What can happen to any tensor. The smallest factor is far inside the tolerances of the field.
DISTORTIONS: dict[str, Callable[[Array], Array]] = {
    "sign flipped": lambda x: -x,
    "all zero": np.zeros_like,
    "0.0001 % too large": lambda x: x * x.dtype.type(1.000001),
    "last element lost": lambda x: np.where(np.arange(x.size).reshape(x.shape) == x.size - 1, 0, x),
}


def distorted_output(honest: Kernel, distort: Callable[[Array], Array]) -> Kernel:
    """Return the kernel with a fault in y alone."""

    def forward(*args: Any, **kwargs: Any) -> tuple[Array, Any]:
        y, saved = honest.forward(*args, **kwargs)
        return distort(np.asarray(y)), saved

    return honest._replace(forward=forward)


def distorted_gradient(honest: Kernel, position: int, distort: Callable[[Array], Array]) -> Kernel:
    """Return the kernel with a fault in the gradient of one input alone."""

    def backward(grad_y: Array, saved: Any) -> tuple[Array | None, ...]:
        grads = list(honest.backward(grad_y, saved))
        grad = grads[position]
        grads[position] = None if grad is None else distort(np.asarray(grad))
        return tuple(grads)

    return honest._replace(backward=backward)
