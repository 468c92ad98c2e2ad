"""Dropout: y = x / (1 - p) where keep, else 0."""

from torch import Tensor


def forward(x: Tensor, keep: Tensor, p: float = 0.5) -> Tensor:
    if p == 1:
        return x.masked_fill(~keep | keep, 0)
    return (x * (1 / (1 - p))).masked_fill(~keep, 0)
