"""What the laws must know of AdamW, and what only it has."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np

from twingrad.core.spec import Array
from twingrad.parity_tests.judge.recurrence import Recurrence
from twingrad.parity_tests.laws.ball import Ball, agree, exactly, same
from twingrad.parity_tests.laws.drawn import Descent, cast, descents
from twingrad.parity_tests.laws.optimizers import same_path, trajectory
from twingrad.parity_tests.laws.roundings import roundings
from twingrad.parity_tests.laws.table import law


def size(path: Recurrence, grad: Array) -> Array:
    (beta1, beta2), lr, eps = (path.settings[name] for name in ("betas", "lr", "eps"))
    # A running mean of memory 1 / (1 - beta) carries the roundings of that many steps, and its
    # terms may cancel, so their absolute values are what is rounded.
    sizes = path.sizes["exp_avg"] = beta1 * path.sizes["exp_avg"] + (1 - beta1) * np.abs(grad)
    memory = sum(roundings(min(path.steps, 1 / (1 - beta))) for beta in (beta1, beta2))
    second = beta2 * path.state["exp_avg_sq"] + (1 - beta2) * grad * grad
    if path.settings["amsgrad"]:
        second = np.maximum(second, path.state["max_exp_avg_sq"])
    root = np.sqrt(second / (1 - beta2**path.steps))
    size: Array = (8 + 4 * memory) * lr / (1 - beta1**path.steps) * sizes / (root + eps)
    return size


SETTINGS = {
    "betas": st.tuples(st.sampled_from([0.0, 0.5, 0.9, 0.99]), st.sampled_from([0.0, 0.9, 0.999]))
}


@law("adamw", "without eps gradients * 2^k are the same", draws=descents, exact=True)
def scale_changes_nothing(descent: Descent, backend: str) -> None:
    weights, _ = trajectory(descent, backend, eps=0.0)
    for k in (-10, 9):
        factor = cast(2.0**k, descent.grads.dtype)
        scaled, _ = trajectory(replace(descent, grads=descent.grads * factor), backend, eps=0.0)
        same_path(backend, f"the weight of gradients * 2^{k}", scaled, weights)


@law("adamw", "without eps the first step is lr", draws=descents)
def first_step(descent: Descent, backend: str) -> None:
    """Without eps and decay the first step is lr long, whatever the gradient is."""
    lr = descent.settings["lr"]
    start = replace(descent, weight=np.zeros_like(descent.weight), grads=descent.grads[:1])
    (weight,), _ = trajectory(start, backend, eps=0.0, weight_decay=0.0)
    # Roundings: 2 of exp_avg, 3 / 2 + 1 of the root, 2 of its correction, 1 of the quotient, 2 of
    # lr / (1 - beta1) times it.
    room = 9.5 * np.finfo(weight.dtype).eps / 2 * lr
    step = Ball(exactly(weight).value, np.full(weight.shape, room))
    direction = 1 if descent.settings["maximize"] else -1
    agree(backend, "the first step against lr", step, direction * lr * np.sign(descent.grads[0]))


@law("adamw", "amsgrad keeps the largest", draws=descents, exact=True)
def amsgrad_never_forgets(descent: Descent, backend: str) -> None:
    # The gradients shrink, so that the second moment falls and its largest value must not.
    factors = cast(0.5 ** np.arange(len(descent.grads)), descent.grads.dtype)
    shrinking = (descent.grads.T * factors).T
    _, states = trajectory(replace(descent, grads=shrinking), backend, amsgrad=True)
    largest = np.zeros_like(descent.weight)
    for state in states:
        largest = np.maximum(largest, state["exp_avg_sq"])
        same(backend, "max_exp_avg_sq", state["max_exp_avg_sq"], largest)
