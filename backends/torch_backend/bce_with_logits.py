"""BCEWithLogits: y = reduction(weight * (max(x, 0) - x * target + log(1 + e^-|x|)))."""

import torch.nn.functional as F
from torch import Tensor


def forward(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    # torch's own loss is NaN at x = +-inf. Here a part whose target is 0 is left out, inf or not.
    positive = target if pos_weight is None else pos_weight * target
    number = ~x.isnan()
    yes = (positive * -F.logsigmoid(x)).masked_fill((positive == 0) & number, 0)
    no = ((1 - target) * -F.logsigmoid(-x)).masked_fill((target == 1) & number, 0)
    loss = yes + no
    loss = loss if weight is None else weight * loss
    if reduction == "none":
        return loss
    # The mean of nothing is 0, where torch says 0 / 0.
    return loss.mean() if reduction == "mean" and loss.numel() else loss.sum()
