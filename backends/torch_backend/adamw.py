"""AdamW: weight -= lr / (1 - beta1^step) * exp_avg / (root + eps), after decaying the weight."""

from torch import Tensor
from torch.optim.adamw import adamw

from twingrad.core.spec import Settings


def step(
    weights: list[Tensor],
    grads: list[Tensor],
    states: dict[str, list[Tensor]],
    steps: list[Tensor],
    settings: Settings,
) -> None:
    """Take one step in place; `steps` counts the steps before this one and is advanced."""
    adamw(
        weights,
        grads,
        states["exp_avg"],
        states["exp_avg_sq"],
        states["max_exp_avg_sq"] if settings["amsgrad"] else [],
        steps,
        fused=weights[0].device.type == "cpu" and all(x.is_floating_point() for x in weights),
        beta1=settings["betas"][0],
        beta2=settings["betas"][1],
        **{name: settings[name] for name in ("lr", "eps", "weight_decay", "amsgrad", "maximize")},
    )
