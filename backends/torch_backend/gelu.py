"""GELU: y = x * Phi(x), or its approximation by tanh."""

import torch
import torch.nn.functional as F
from torch import Tensor

from twingrad.backends.torch_backend.ordinary import is_ordinary

FAR = 40.0  # beyond it the gate is 0 or 1 in every dtype
# Without AVX, oneDNN makes +0 of -0.
KEEPS_SIGN = bool(F.gelu(torch.full((9,), -0.0)).signbit().all())


def forward(x: Tensor, approximate: str = "none") -> Tensor:
    if KEEPS_SIGN and is_ordinary(x, FAR):
        return F.gelu(x, approximate=approximate)
    # torch's own kernel overflows for large finite x and is NaN at +-inf, so it never sees them.
    far = x.abs() > FAR
    near = F.gelu(x.masked_fill(far, 0), approximate=approximate)
    if not KEEPS_SIGN:
        near = torch.where(x == 0, x / 2, near)
    return torch.where(far, torch.relu(x), near)
