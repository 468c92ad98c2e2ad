"""Softmax: y = e^x / sum(e^x) over the last dimension."""

import torch
from torch import Tensor

from twingrad.backends.torch_backend.ordinary import is_ordinary


def forward(x: Tensor) -> Tensor:
    if is_ordinary(x):
        return torch.softmax(x, dim=-1)
    # torch gives NaN for a row of -inf alone; by the spec all its probabilities are 0.
    empty = (x == -torch.inf).all(dim=-1, keepdim=True)
    return torch.softmax(x.masked_fill(empty, 0), dim=-1).masked_fill(empty, 0)
