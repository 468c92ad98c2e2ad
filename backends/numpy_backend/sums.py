"""Long sums whose error does not grow with their length.

NumPy adds along axis 0 one row after the other: a million float32 terms come out 1 % wrong. Here
float32 and float16 are added in float64, float64 along an axis that lies last in memory, where
NumPy adds in pairs, and the columns of a float32 matrix in short runs on the BLAS.
"""

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from twingrad.core.spec import Array

RUN = 256  # rows added in float32 before float64 takes over
ONES = np.ones(RUN, np.float32)


def sum_over(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """Return the sum of x over `axis`, in x's dtype but added in at least float64."""
    if axis is None or x.dtype != np.float64:
        total = np.sum(x, axis=axis, dtype=np.float64, keepdims=keepdims)
        return np.asarray(total, dtype=x.dtype)
    axes = normalize_axis_tuple(axis, x.ndim)
    kept = [a for a in range(x.ndim) if a not in axes]
    shape = tuple(1 if a in axes else n for a, n in enumerate(x.shape) if keepdims or a in kept)
    rows = np.ascontiguousarray(x.transpose(*kept, *axes))
    count, length = (math.prod(x.shape[a] for a in group) for group in (kept, axes))
    sums: Array = rows.reshape(count, length).sum(axis=1)
    return sums.reshape(shape)


def column_sums(x: Array) -> Array:
    """Return the sum of each column of x (rows, columns), float32 or float64 -> (columns)."""
    if x.dtype == np.float64:
        return sum_over(x, 0)
    rows, columns = x.shape
    whole = rows - rows % RUN
    total: Array = ONES[: rows - whole] @ x[whole:]
    if whole:
        runs = x[:whole].reshape(rows // RUN, RUN, columns)
        total += (ONES @ runs).sum(axis=0, dtype=np.float64)
    return total
