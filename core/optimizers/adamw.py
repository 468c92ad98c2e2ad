"""AdamW: Adam whose decay is no part of the gradient."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from twingrad.core.catalogue import register_optimizer
from twingrad.core.optimizers.optimizer import LEARNING_RATE, Optimizer
from twingrad.core.spec import Array, Arrays, Flag, Number, OptimizerSpec, Pair


def adamw(
    weight: Array,
    grad: Array,
    state: Arrays,
    step: int,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    amsgrad: bool,
    maximize: bool,
) -> tuple[Array, Arrays]:
    beta1, beta2 = betas
    grad = -grad if maximize else grad
    weight = weight * (1 - lr * weight_decay)
    exp_avg = beta1 * state["exp_avg"] + (1 - beta1) * grad
    exp_avg_sq = beta2 * state["exp_avg_sq"] + (1 - beta2) * grad * grad
    state = {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq} | (
        {"max_exp_avg_sq": np.maximum(state["max_exp_avg_sq"], exp_avg_sq)} if amsgrad else {}
    )
    second = state["max_exp_avg_sq"] if amsgrad else exp_avg_sq
    root = np.sqrt(second) / math.sqrt(1 - beta2**step)
    return weight - lr / (1 - beta1**step) * exp_avg / (root + eps), state


BETA = Number(0.9, low=0.0, high=1.0, below=True)


SPEC = OptimizerSpec(
    name="adamw",
    recurrence=(
        "grad = -grad if maximize",
        "weight = weight * (1 - lr * weight_decay)",
        "exp_avg = beta1 * exp_avg + (1 - beta1) * grad",
        "exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad^2",
        "second = exp_avg_sq, or with amsgrad the largest exp_avg_sq so far",
        "root = sqrt(second) / sqrt(1 - beta2^step)",
        "weight = weight - lr / (1 - beta1^step) * exp_avg / (root + eps)",
    ),
    state=("exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
    source="Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2; order as torch.optim.AdamW",
    definition=adamw,
    settings={
        "lr": LEARNING_RATE,
        "betas": Pair((0.9, 0.999), BETA),
        "eps": Number(1e-8, low=0.0),
        "weight_decay": Number(1e-2, low=0.0),
        "amsgrad": Flag(),
        "maximize": Flag(),
    },
    meaning="the decay comes first and is not part of the gradient; eps is outside the root",
)
register_optimizer(SPEC)


class AdamW(Optimizer):
    """Adam with decoupled weight decay; arguments and defaults are torch.optim.AdamW's."""

    spec_name = "adamw"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            maximize=maximize,
        )
