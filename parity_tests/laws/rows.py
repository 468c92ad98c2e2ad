"""Laws of batches and rows: how cases are stacked, and what holds of each row by itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.core.spec import Array
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.judge.strategies import output_shape
from twingrad.parity_tests.laws.ball import agree, balls
from twingrad.parity_tests.laws.drawn import Inputs, changed, random_like


def stacked(case: Case) -> tuple[Case, list[str]]:
    """Return a batch of three like the case, and what of its outcome has the batch's rows."""
    rng = np.random.default_rng(case.grad_y.size)
    named = {name: len(text.split()) - 1 for name, text in case.spec.inputs.items()}
    names = [name for name in case.inputs if case.spec.inputs[name].startswith("...")]
    rank = max(case.inputs[name].ndim - named[name] for name in names)
    # A loss is looked at before it is reduced: that is where it has rows.
    settings = {"reduction": "none"} if "reduction" in case.settings else {}
    upstream = case.grad_y
    if settings:
        upstream = random_like(case, output_shape(case.spec, case.inputs, case.settings | settings))

    def batch(x: Array, missing: int = 0) -> Array:
        padded = x.reshape((1,) * missing + x.shape)
        return np.stack([padded, *(_shuffled(padded, rng) for _ in range(2))])

    batches = changed(
        case,
        grad_y=batch(upstream),
        settings=settings,
        **{
            name: batch(case.inputs[name], rank - (case.inputs[name].ndim - named[name]))
            for name in names
        },
    )
    return batches, ["y", *(f"grad_{name}" for name in names)]


def _shuffled(x: Array, rng: np.random.Generator) -> Array:
    return rng.permutation(x.reshape(-1)).reshape(x.shape)


def rows_of(case: Case, of_rows: list[str], index: Any) -> Case:
    """Return the case with some of its rows alone; `of_rows` as `stacked` returns it."""
    picked = {name: case.inputs[name][index] for name in case.inputs if f"grad_{name}" in of_rows}
    return changed(case, grad_y=case.grad_y[index], **picked)


def features_reordered(case: Case, backend: str, names: tuple[str, ...]) -> None:
    """Reorder the last axis of some inputs and of grad_y; what is summed over it stays."""
    order = np.random.default_rng(case.grad_y.size).permutation(case.inputs["x"].shape[-1])
    there: Inputs = {name: case.inputs[name][..., order] for name in names if name in case.inputs}
    found = balls(case, backend)
    moved = balls(changed(case, grad_y=case.grad_y[..., order], **there), backend)
    for what in found:
        agree(backend, f"{what} of reordered features", moved[what], found[what][..., order])


def gradients_of_a_row_cancel(case: Case, backend: str) -> None:
    """What is the same however a row is shifted gets gradients that add up to 0."""
    agree(backend, "the sum of a row of grad_x", balls(case, backend)["grad_x"].sum(axis=-1), 0)
