"""LayerNorm: y = xhat * weight + bias, where xhat is x with mean 0 and variance 1 in each row."""

import torch
import torch.nn.functional as F
from torch import Tensor


def forward(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    if x.dtype in (torch.float16, torch.bfloat16):
        # torch adds up the gradients of weight and bias in their own dtype, where 5000 ones are
        # 4096 in float16, and 512 in bfloat16.
        wide = forward(
            x.float(),
            None if weight is None else weight.float(),
            None if bias is None else bias.float(),
            eps,
        )
        return wide.to(x.dtype)
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)
