"""Every property in laws/ holds on every backend, and a fault that breaks it is seen."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import Phase, given, settings

from twingrad.core.catalogue import everything
from twingrad.core.registry import OWN
from twingrad.core.spec import LayerSpec, OptimizerSpec
from twingrad.parity_tests.faults.table import Fault, faults
from twingrad.parity_tests.judge.options import DTYPES
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.laws.table import general_laws, laws_of, names_with_laws, own_laws

BITWISE_LAWS = 60  # at least so many that are one layer's own, each dtype counted


@pytest.mark.share(2)  # a case has many numbers, a layer many properties
@given(data=st.data())
def test_a_property_holds(
    subject: LayerSpec | OptimizerSpec,
    sentence: str,
    in_dtype: str,
    session: Session,
    data: st.DataObject,
) -> None:
    law = laws_of(subject)[sentence]
    case: Any = data.draw(law.draws(subject, in_dtype), label=subject.name)
    for name in session.backends:
        if name in OWN or not law.needs_tensors:
            law.holds(case, name)


def test_the_exact_lane_is_not_shortened() -> None:
    """Relations without any error are the ones in which no tolerance can hide a fault."""
    bitwise = [
        (name, sentence, dtype)
        for name, subject in everything().items()
        for sentence, law in laws_of(subject).items()
        for dtype in law.dtypes or DTYPES
        if law.is_exact
    ]
    own = [law for law in bitwise if law[1] in own_laws(law[0])]
    assert len(own) >= BITWISE_LAWS
    assert len(bitwise) >= 4 * BITWISE_LAWS


def test_every_row_of_the_table_is_about_something() -> None:
    assert set(names_with_laws()) <= everything().keys()
    for sentence, law in general_laws().items():
        assert callable(law.of), sentence
        assert any(map(law.of, everything().values())), sentence


BREAKING = [(fault, sentence) for fault in faults() for sentence in fault.breaks]


@pytest.mark.parametrize(
    ("fault", "broken"),
    [
        pytest.param(fault, broken, id=f"{fault.of}-{broken}", marks=pytest.mark.about(fault.of))
        for fault, broken in BREAKING
    ],
)
def test_a_planted_fault_breaks_the_property(fault: Fault, broken: str) -> None:
    """In float32, and the message says which backend has it."""
    spec = everything()[fault.of]
    each = laws_of(spec)[broken]

    @settings(
        max_examples=60,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        database=None,
        derandomize=True,
    )
    @given(each.draws(spec, "float32"))
    def law(case: Any) -> None:
        each.holds(case, "torch")
        each.holds(case, "numpy")

    with fault.planted(), pytest.raises(AssertionError, match=r"on numpy"):
        law()
