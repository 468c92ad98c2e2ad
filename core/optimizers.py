"""Every optimizer that a backend provides, as data, its recurrence line by line."""

from __future__ import annotations

import math

import numpy as np

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


LEARNING_RATE = Number(1e-3, low=0.0)
BETA = Number(0.9, low=0.0, high=1.0, below=True)

ADAMW = OptimizerSpec(
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

SGD = OptimizerSpec(
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
    meaning="nesterov needs momentum > 0 and dampening 0",
)

OPTIMIZERS: dict[str, OptimizerSpec] = {spec.name: spec for spec in (ADAMW, SGD)}
