"""Ordinary numbers: where torch's own kernels are right, and nothing has to be done around them."""

import math

import torch
from torch import Tensor


def is_ordinary(x: Tensor, limit: float = math.inf) -> bool:
    """Return whether all of x is known to be finite and at most `limit` in size.

    One pass over x. Not asked, and so False, where the answer would have to come from another
    device, or would cut a compiled graph in two.
    """
    if torch.compiler.is_compiling() or x.device.type != "cpu" or not x.numel():
        return False
    low, high = torch.aminmax(x.detach())
    # NaN is not inside any limits.
    return (
        -limit <= float(low) and float(high) <= limit and math.isfinite(low) and math.isfinite(high)
    )
