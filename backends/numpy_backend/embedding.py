"""Embedding: y = weight[ids]."""

from typing import NamedTuple

import numpy as np

from twingrad.backends.numpy_backend.sums import sum_over
from twingrad.core.spec import Array

FEW = 8  # an id that occurs more often than this gets a sum of its own


class Saved(NamedTuple):
    ids: Array  # (...)
    rows: int  # of weight
    padding_idx: int | None


def forward(ids: Array, weight: Array, padding_idx: int | None = None) -> tuple[Array, Saved]:
    """Look up a row of weight for each id.

    Shapes: ids (...) of integers, weight (n, d) -> y (..., d).
    """
    return weight[ids], Saved(ids, len(weight), padding_idx)


def backward(grad_y: Array, saved: Saved) -> tuple[None, Array]:
    """Return None for ids, and grad_weight: each row the sum of grad_y where its id stands.

    The row of padding_idx stays 0.
    """
    ids, rows, padding_idx = saved
    flat, width = ids.reshape(-1), grad_y.shape[-1]
    grads = grad_y.reshape(flat.size, width)
    grad_weight = np.zeros((rows, width), grad_y.dtype)
    order = np.argsort(flat, kind="stable")
    used, starts, counts = np.unique(flat[order], return_index=True, return_counts=True)
    sums = grads[order[starts]].astype(np.float64)
    for number in range(1, FEW):
        more = np.flatnonzero(number < counts)
        sums[more] += grads[order[starts[more] + number]]
    for often in np.flatnonzero(counts > FEW):
        sums[often] = sum_over(grads[order[starts[often] : starts[often] + counts[often]]], 0)
    grad_weight[used] = sums
    if padding_idx is not None:
        grad_weight[padding_idx] = 0
    return None, grad_weight
