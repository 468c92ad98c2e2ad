"""What the laws must know of the logarithm of softmax."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.core.layers.softmax import softmax
from twingrad.core.spec import Array
from twingrad.parity_tests.judge.case import Case, Domain
from twingrad.parity_tests.laws.ball import agree, balls
from twingrad.parity_tests.laws.digits import log
from twingrad.parity_tests.laws.drawn import case_of, drawn
from twingrad.parity_tests.laws.order import stays_within
from twingrad.parity_tests.laws.roundings import BASIC, FUNCTION, LOG, Weights, roundings
from twingrad.parity_tests.laws.rows import gradients_of_a_row_cancel
from twingrad.parity_tests.laws.softmax import (
    probabilities_are_ordered,
    reordered,
    shift_changes_nothing,
    shifts,
    single_logit,
)
from twingrad.parity_tests.laws.softmax import truth as softmax_in_many_digits
from twingrad.parity_tests.laws.table import law


def bound(g: Array, x: Array) -> Weights:
    y, (shift, largest) = softmax(x), shifts(x)
    summed = roundings(x.shape[-1]) + FUNCTION + LOG
    log_total = np.log(max(x.shape[-1], 1))
    relative = 2 * (FUNCTION + BASIC * (largest + log_total)) + summed
    return {
        "y": 2 * BASIC * (shift + log_total) + summed,
        "grad_x": 2 * BASIC * g + relative * y * g.sum(axis=-1, keepdims=True),
    }


def truth(x: Array) -> Any:
    return log(softmax_in_many_digits(x))


DOMAINS = {"x": Domain(-20, 14)}
ROUNDED_ONCE = ("y",)


@law("log_softmax", "rows of probabilities add up to 1", draws=drawn)
def probabilities_add_up_to_one(case: Case, backend: str) -> None:
    total = balls(case, backend)["y"].exp().sum(axis=-1)
    agree(backend, "the sum of a row's probabilities", total, 1)


@law("log_softmax", "the logarithm of softmax", draws=drawn, uses=("softmax",))
def is_the_log(case: Case, backend: str) -> None:
    softmax = balls(case_of("softmax", case, dict(case.inputs)), backend)["y"]
    found = balls(case, backend)["y"].exp()
    agree(backend, "exp(log_softmax) against softmax", found, softmax)


law("log_softmax", "an integer shift changes nothing", draws=drawn, exact=True)(
    shift_changes_nothing
)
law("log_softmax", "gradients of a row cancel", draws=drawn)(gradients_of_a_row_cancel)
law("log_softmax", "never above 0", draws=drawn, exact=True)(stays_within(-np.inf, 0))
law("log_softmax", "logits may be reordered", draws=drawn)(reordered)
law("log_softmax", "a single logit is certain", draws=drawn, exact=True)(single_logit(0))
law("log_softmax", "larger logits have larger probabilities", draws=drawn)(
    probabilities_are_ordered
)
