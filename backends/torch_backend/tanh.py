"""Tanh: y = (e^x - e^-x) / (e^x + e^-x)."""

import torch
from torch import Tensor


def forward(x: Tensor) -> Tensor:
    return torch.tanh(x)
