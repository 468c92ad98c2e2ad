"""ReLU: y = max(x, 0)."""

import torch
from torch import Tensor


def forward(x: Tensor) -> Tensor:
    return torch.relu(x)
