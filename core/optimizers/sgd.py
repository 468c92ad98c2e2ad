"""SGD: gradient descent with optional momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twingrad.core.catalogue import register_optimizer
from twingrad.core.optimizers.optimizer import LEARNING_RATE, Optimizer
from twingrad.core.spec import Array, Arrays, Flag, Number, OptimizerSpec, Settings


def sgd(
    weight: Array,
    grad: Array,
    state: Arrays,
    step: int,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    nesterov: bool,
    weight_decay: float,
    maximize: bool,
) -> tuple[Array, Arrays]:
    grad = -grad if maximize else grad
    grad = grad + weight_decay * weight
    if momentum == 0:
        return weight - lr * grad, {}
    buffer = grad if step == 1 else momentum * state["momentum_buffer"] + (1 - dampening) * grad
    update = grad + momentum * buffer if nesterov else buffer
    return weight - lr * update, {"momentum_buffer": buffer}


def _refuses(settings: Settings) -> str | None:
    if settings["nesterov"] and (settings["momentum"] == 0 or settings["dampening"] != 0):
        return (
            f"nesterov needs momentum > 0 and dampening 0; got "
            f"momentum={settings['momentum']!r} and dampening={settings['dampening']!r}"
        )
    return None


SPEC = OptimizerSpec(
    name="sgd",
    recurrence=(
        "grad = -grad if maximize",
        "grad = grad + weight_decay * weight",
        "buffer = momentum * buffer + (1 - dampening) * grad, and grad itself at the first step",
        "update = grad + momentum * buffer with nesterov, else buffer (grad without momentum)",
        "weight = weight - lr * update",
    ),
    state=("momentum_buffer",),
    source="Sutskever et al. 2013, ICML, section 2; order as torch.optim.SGD",
    definition=sgd,
    settings={
        "lr": LEARNING_RATE,
        "momentum": Number(0.0, low=0.0),
        "dampening": Number(0.0),
        "nesterov": Flag(),
        "weight_decay": Number(0.0, low=0.0),
        "maximize": Flag(),
    },
    refuses=_refuses,
    meaning="nesterov needs momentum > 0 and dampening 0",
)
register_optimizer(SPEC)


class SGD(Optimizer):
    """Gradient descent with optional momentum; arguments and defaults are torch.optim.SGD's."""

    spec_name = "sgd"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            maximize=maximize,
        )
