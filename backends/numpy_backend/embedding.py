"""Embedding: y = weight[ids]."""

from typing import NamedTuple

import numpy as np

from twingrad.core.spec import Array


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
    # Sorted by id, the gradients of a row lie side by side, and are added in one go.
    order = np.argsort(flat, kind="stable")
    used, starts = np.unique(flat[order], return_index=True)
    grad_weight = np.zeros((rows, width), grad_y.dtype)
    sorted_grads = grad_y.reshape(flat.size, width)[order]
    grad_weight[used] = np.add.reduceat(sorted_grads, starts, axis=0, dtype=np.float64)
    if padding_idx is not None:
        grad_weight[padding_idx] = 0
    return None, grad_weight
