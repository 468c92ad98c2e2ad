"""Sigmoid: y = 1 / (1 + e^-x)."""

import torch
from torch import Tensor


def forward(x: Tensor) -> Tensor:
    return torch.sigmoid(x)
