"""One layer on arrays: checked, computed in a dtype that is wide enough, and differentiated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from twingrad.backends.numpy_backend.kernels import KERNELS
from twingrad.core.arguments import check_call, explain
from twingrad.core.errors import ShapeError
from twingrad.core.spec import Array, LayerSpec

HALF = np.dtype("float16")


def run_forward(
    spec: LayerSpec, arrays: dict[str, Array], settings: Mapping[str, Any]
) -> tuple[Array, Any]:
    """Check the arrays against the spec and run the layer's forward: returns (y, saved)."""
    check_call(spec, arrays, settings)
    half = HALF in [x.dtype for x in arrays.values()]
    if half:  # it is for storage: everything is computed in float32 and rounded once
        arrays = {n: x.astype(np.float32) if x.dtype == HALF else x for n, x in arrays.items()}
    try:
        with np.errstate(all="ignore"):
            y, saved = KERNELS[spec.name].forward(**arrays, **settings)
            y = np.asarray(y, HALF if half else None)
    except (ValueError, IndexError, TypeError) as error:
        reason = explain(spec, {name: array.shape for name, array in arrays.items()}, settings)
        if reason is None:
            raise
        raise ShapeError(reason) from error
    return y, saved


def run_backward(spec: LayerSpec, grad_y: Array, saved: Any) -> tuple[Array | None, ...]:
    """Run the layer's backward: returns a gradient for each input, None for those without."""
    with np.errstate(all="ignore"):
        return compute_gradients(spec, grad_y, saved)


def compute_gradients(spec: LayerSpec, grad_y: Array, saved: Any) -> tuple[Array | None, ...]:
    """Run the layer's backward where NumPy's warnings are off already."""
    half = grad_y.dtype == HALF
    dtype = HALF if half else None
    grads = KERNELS[spec.name].backward(grad_y.astype(np.float32) if half else grad_y, saved)
    return tuple([None if grad is None else np.asarray(grad, dtype) for grad in grads])
