"""What the laws must know of cross entropy, and what only it has."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import mpmath
import numpy as np

from twingrad.core.layers.log_softmax import log_softmax
from twingrad.core.layers.softmax import softmax
from twingrad.core.spec import Array
from twingrad.parity_tests.judge.case import Case, Domain
from twingrad.parity_tests.laws.ball import Ball, agree, balls, exactly, outcome, same
from twingrad.parity_tests.laws.digits import log
from twingrad.parity_tests.laws.drawn import case_of, changed, drawn, random_like
from twingrad.parity_tests.laws.log_softmax import bound as bound_of_log_softmax
from twingrad.parity_tests.laws.roundings import BASIC, Weights, roundings
from twingrad.parity_tests.laws.rows import gradients_of_a_row_cancel
from twingrad.parity_tests.laws.softmax import truth as softmax_in_many_digits
from twingrad.parity_tests.laws.table import law


def bound(
    g: Array,
    x: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Weights:
    classes = x.shape[-1]
    surprise, logits = -log_softmax(x), bound_of_log_softmax(np.ones_like(x), x)
    counted = (target != ignore_index)[..., None]
    each = np.ones(classes, x.dtype) if weight is None else np.abs(weight)
    is_target = counted & (np.arange(classes) == target[..., None])
    parts = is_target * each * (1 - label_smoothing) + counted * each * (label_smoothing / classes)
    # What is absent, or has no part, is left out.
    size = np.where((parts == 0) | np.isinf(surprise), 0, parts * np.abs(surprise))
    of_logits = np.where(parts == 0, 0, parts * logits["y"])
    sums = roundings(classes) if label_smoothing else 0
    loss = (of_logits + (4 * BASIC + sums) * size).sum(axis=-1)
    present = np.where(np.isneginf(x), 0, parts)
    whole = present.sum(axis=-1, keepdims=True)
    # What the gradient of log_softmax costs for an upstream gradient of -parts.
    grad = bound_of_log_softmax(present, x)["grad_x"] + (4 * BASIC + sums) * (
        present + softmax(x) * whole
    )
    if reduction == "none":
        return {"y": loss, "grad_x": g[..., None] * grad}
    count = (is_target * each).sum() if reduction == "mean" else 1
    rows = roundings(target.size)
    total = loss.sum() + 2 * rows * size.sum()
    scale = 1 / count if count else 1
    return {"y": total * scale, "grad_x": g * scale * (1 + rows / 4) * grad}


def truth(
    x: Array,
    target: Array,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
    weight: Array | None = None,
) -> Any:
    surprise, kept = -log(softmax_in_many_digits(x)), mpmath.mpf(1) - mpmath.mpf(label_smoothing)
    losses, count = np.full(target.shape, mpmath.mpf(0), object), mpmath.mpf(0)
    for index in np.ndindex(target.shape):
        if target[index] != ignore_index:
            each = np.full(x.shape[-1], mpmath.mpf(1)) if weight is None else weight
            own = each[target[index]]
            spread = (each * surprise[index]).sum() * mpmath.mpf(label_smoothing) / x.shape[-1]
            losses[index] = kept * own * surprise[index][target[index]] + spread
            count += own
    if reduction == "none":
        return losses
    return np.sum(losses) / (count if reduction == "mean" and count else 1)


DOMAINS = {"x": Domain(-20, 14), "weight": Domain(-20, 6, positive=True)}
SETTINGS = {
    "ignore_index": st.sampled_from([-100, 0, 1]),
    "label_smoothing": st.sampled_from([0.0, 0.1, 1.0]),
}


def _each_loss(case: Case, **inputs: Any) -> Case:
    """Return the case unreduced, without weight unless it is given, and nothing ignored."""
    classes = inputs.get("x", case.inputs["x"]).shape[-1]
    target = np.clip(case.inputs["target"], 0, classes - 1)
    plain: dict[str, Any] = {"weight": None, "target": target} | inputs
    settings = {"reduction": "none", "label_smoothing": 0.0, "ignore_index": -100}
    return changed(case, grad_y=random_like(case, target.shape), settings=settings, **plain)


@law("cross_entropy", "the loss is -log_softmax", draws=drawn, uses=("log_softmax",))
def is_a_log_probability(case: Case, backend: str) -> None:
    loss = _each_loss(case)
    log_softmax = case_of("log_softmax", loss, {"x": loss.inputs["x"]})
    log_p = balls(changed(log_softmax, grad_y=loss.inputs["x"]), backend)["y"]
    at = loss.inputs["target"][..., None]
    expected = Ball(
        *(np.take_along_axis(side, at, -1)[..., 0] for side in (log_p.value, log_p.radius))
    )
    agree(backend, "the loss against -log_softmax", balls(loss, backend)["y"], -expected)


@law("cross_entropy", "two classes are bce", draws=drawn, uses=("bce_with_logits",))
def of_two_is_bce(case: Case, backend: str) -> None:
    """Logits of 0 and z are what a single logit z is to the binary loss."""
    z = case.inputs["x"][..., :1]
    target = case.inputs["target"] % 2
    loss = _each_loss(case, x=np.concatenate([np.zeros_like(z), z], axis=-1), target=target)
    binary = {"x": z[..., 0], "target": target.astype(case.dtype)}
    expected = balls(case_of("bce_with_logits", loss, binary, reduction="none"), backend)
    found = balls(loss, backend)
    agree(backend, "the loss of two classes against bce", found["y"], expected["y"])
    agree(backend, "grad_x of two classes against bce", found["grad_x"][..., 1], expected["grad_x"])


@law("cross_entropy", "equal logits lose log(classes)", draws=drawn)
def of_equal_logits(case: Case, backend: str) -> None:
    loss = _each_loss(case, x=np.full_like(case.inputs["x"], 3))
    classes = exactly(case.inputs["x"]).value.dtype.type(loss.inputs["x"].shape[-1])
    found = balls(loss, backend)["y"]
    agree(backend, "the loss of equal logits against log(classes)", found, np.log(classes))


@law("cross_entropy", "what is ignored is absent", draws=drawn, exact=True)
def ignored_is_absent(case: Case, backend: str) -> None:
    """Whatever stands in the logits of a target that is not counted, NaN included."""
    x, ignored = case.inputs["x"], case.settings["ignore_index"]
    target = case.inputs["target"].copy()
    target.reshape(-1)[::2] = ignored
    hidden = (target == ignored)[..., None]
    found = outcome(changed(case, target=target), backend)
    junk = changed(case, target=target, x=np.where(hidden, x.dtype.type(np.nan), x))
    other = outcome(junk, backend)
    same(backend, "y with NaN where nothing is counted", other["y"], found["y"])
    for what, grads in (("grad_x", found), ("grad_x beside NaN", other)):
        rows = np.where(hidden, grads["grad_x"], 0)
        same(backend, f"{what} where nothing is counted", rows, np.zeros_like(x))
    rest = np.where(hidden, 0, other["grad_x"])
    same(backend, "grad_x of what is counted", rest, np.where(hidden, 0, found["grad_x"]))


@law("cross_entropy", "a smoothed loss is a mixture", draws=drawn)
def smoothed_is_a_mixture(case: Case, backend: str) -> None:
    """(1 - s) of the target's own loss, and s of the mean of the losses of all classes."""
    loss, share = _each_loss(case), 0.25
    smoothed = balls(changed(loss, settings={"label_smoothing": share}), backend)["y"]
    target, classes = loss.inputs["target"], loss.inputs["x"].shape[-1]
    own = balls(loss, backend)["y"]
    spread = balls(changed(loss, settings={"label_smoothing": 1.0}), backend)["y"]
    each = [
        balls(changed(loss, target=np.full_like(target, c)), backend)["y"] for c in range(classes)
    ]
    total = sum(each[1:], each[0])
    agree(
        backend,
        "the smoothed loss against its mixture",
        smoothed,
        own * (1 - share) + spread * share,
    )
    agree(backend, "the spread loss against the mean of all", spread * classes, total)


@law("cross_entropy", "weights of 1 are none", draws=drawn, exact=True)
def weights_of_one(case: Case, backend: str) -> None:
    loss = changed(case, weight=None)
    ones = np.ones(case.inputs["x"].shape[-1], case.dtype)
    found, given = outcome(loss, backend), outcome(changed(loss, weight=ones), backend)
    for what in found:
        same(backend, f"{what} with weight 1", given[what], found[what])


law("cross_entropy", "gradients of a row cancel", draws=drawn)(gradients_of_a_row_cancel)
