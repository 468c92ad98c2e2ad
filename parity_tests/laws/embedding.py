"""What the laws must know of an embedding, and what only it has."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np

from twingrad.core.spec import Array, Settings
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.laws.ball import agree, balls, exactly, outcome, same
from twingrad.parity_tests.laws.drawn import changed, drawn, random_like
from twingrad.parity_tests.laws.roundings import EXACT, Weights, roundings
from twingrad.parity_tests.laws.table import law


def bound(g: Array, ids: Array, weight: Array, padding_idx: int | None = None) -> Weights:
    total, counts = np.zeros_like(weight), np.zeros(len(weight))
    np.add.at(total, ids, g)
    np.add.at(counts, ids, 1)
    if padding_idx is not None:
        total[padding_idx] = 0
    sums = np.array([roundings(int(count)) for count in counts])
    return {"y": EXACT, "grad_weight": sums[:, None] * total}


def truth(ids: Array, weight: Array, padding_idx: int | None) -> Any:
    return weight[ids]


SETTINGS = {"padding_idx": st.sampled_from([None, 0])}
SMOOTH: Settings = {"padding_idx": None}  # that a row is not to be trained no formula knows


@law("embedding", "a table of unit vectors gives them", draws=drawn, exact=True)
def of_an_identity(case: Case, backend: str) -> None:
    """Each id gives its unit vector, and each row of the table the upstream where its id stands."""
    ids, count = case.inputs["ids"], len(case.inputs["weight"])
    eye = np.eye(count, dtype=case.dtype)
    grad_y = random_like(case, (*ids.shape, count))
    found = outcome(changed(case, weight=eye, grad_y=grad_y), backend)
    expected = (ids[..., None] == np.arange(count)).astype(case.dtype)
    same(backend, "y of the identity", found["y"], expected)


@law("embedding", "the table gets all of the upstream", draws=drawn)
def gives_all_of_the_upstream(case: Case, backend: str) -> None:
    found = balls(changed(case, settings={"padding_idx": None}), backend)["grad_weight"]
    rows = case.grad_y.reshape(case.inputs["ids"].size, case.grad_y.shape[-1])
    total = exactly(rows).sum(axis=0)
    agree(backend, "the sum of grad_weight over the table", found.sum(axis=0), total)


@law("embedding", "padding gets nothing", draws=drawn, exact=True)
def padding_gets_nothing(case: Case, backend: str) -> None:
    plain = outcome(changed(case, settings={"padding_idx": None}), backend)
    found = outcome(changed(case, settings={"padding_idx": 0}), backend)
    same(backend, "y with a padding row", found["y"], plain["y"])
    expected = plain["grad_weight"].copy()
    expected[0] = 0
    same(backend, "grad_weight with a padding row", found["grad_weight"], expected)
