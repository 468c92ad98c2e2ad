"""Softmax: y = e^x / sum(e^x) over the last dimension."""

import torch
from torch import Tensor


def forward(x: Tensor) -> Tensor:
    # torch gives NaN for a row of -inf alone; by the spec all its probabilities are 0.
    empty = (x == -torch.inf).all(dim=-1, keepdim=True)
    return torch.softmax(x.masked_fill(empty, 0), dim=-1).masked_fill(empty, 0)
