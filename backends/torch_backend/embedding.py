"""Embedding: y = weight[ids]."""

import torch.nn.functional as F
from torch import Tensor


def forward(ids: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    if weight.element_size() < 4:
        # torch adds up the gradients of an id in the weight's own dtype, and loses most of them.
        return F.embedding(ids, weight.float(), padding_idx).to(weight.dtype)
    return F.embedding(ids, weight, padding_idx)
