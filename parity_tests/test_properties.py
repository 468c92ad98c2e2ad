"""Every property in the table holds on every backend, and a fault that breaks it is seen."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from twingrad.core.spec import LayerSpec, OptimizerSpec
from twingrad.parity_tests.options import options
from twingrad.parity_tests.properties import SUBJECTS, properties_of


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each row of the table, and each dtype that it is about."""
    if "sentence" not in metafunc.fixturenames:
        return
    wanted = options().layers
    laws = [
        pytest.param(spec, sentence, dtype, id=f"{name}-{sentence}-{dtype}")
        for name, spec in SUBJECTS.items()
        if not wanted or name in wanted
        for sentence, each in properties_of(spec).items()
        for dtype in each.dtypes
        if dtype in options().dtypes
    ]
    metafunc.parametrize(("subject", "sentence", "in_dtype"), laws)


@given(data=st.data())
def test_a_property_holds(
    subject: LayerSpec | OptimizerSpec, sentence: str, in_dtype: str, data: st.DataObject
) -> None:
    each = properties_of(subject)[sentence]
    case: Any = data.draw(each.draws(subject, in_dtype), label=subject.name)
    for name in options().backends:
        each.holds(case, name)
