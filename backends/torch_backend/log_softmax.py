"""LogSoftmax: y = x - log(sum(e^x)) over the last dimension."""

import torch
from torch import Tensor

from twingrad.backends.torch_backend.ordinary import is_ordinary


def forward(x: Tensor) -> Tensor:
    if is_ordinary(x):
        return torch.log_softmax(x, dim=-1)
    # A logit of -inf is absent: torch would pass the gradient of its output on to the others.
    absent = x == -torch.inf
    empty = absent.all(dim=-1, keepdim=True)
    y = torch.log_softmax(x.masked_fill(empty, 0), dim=-1)
    return y.masked_fill(absent & ~y.isnan(), -torch.inf)
