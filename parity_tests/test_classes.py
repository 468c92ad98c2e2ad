"""NaN, infinity and zero stand where the definition has them, whatever an input holds."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from twingrad.core.registry import load_backend
from twingrad.core.spec import Array, LayerSpec
from twingrad.parity_tests.judge import oracle
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.judge.strategies import cases
from twingrad.parity_tests.laws.table import told

SPECIAL = st.sampled_from([np.nan, np.inf, -np.inf])
NAN = st.just(np.nan)


def classes(values: Array, dtype: Any) -> Array:
    """Return a word for each value as it is in `dtype`: nan, inf, -inf or finite."""
    with np.errstate(over="ignore"):
        values = values.astype(dtype)
    words = np.where(np.isposinf(values), "inf", np.where(np.isneginf(values), "-inf", "finite"))
    return np.where(np.isnan(values), "nan", words)


@st.composite
def spoilt_cases(draw: st.DrawFn, spec: LayerSpec, dtype: str) -> Case:
    """Draw a case with one to three elements of its floating inputs not finite."""
    case = draw(cases(spec, dtype, min_length=1))
    for name in told(spec.name, "NOT_BESIDE_NAN", ()):
        case.inputs.pop(name, None)
    without_infinity = told(spec.name, "NO_INFINITY", ())
    # A label that is NaN is an error, and a loss of infinite labels means nothing.
    names = [n for n in case.inputs if n in spec.differentiable or spec.variadic]
    for _ in range(draw(st.integers(1, 3), label="spoilt")):
        name = draw(st.sampled_from(names), label="input")
        flat = case.inputs[name].reshape(-1)
        if flat.size:
            special = NAN if name in without_infinity else SPECIAL
            flat[draw(st.integers(0, flat.size - 1), label="place")] = draw(special)
    return case


@given(data=st.data())
def test_what_is_not_finite_is_where_the_definition_has_it(
    spec: LayerSpec, dtype: str, session: Session, data: st.DataObject
) -> None:
    case = data.draw(spoilt_cases(spec, dtype))
    promised = told(spec.name, "promised", lambda words: words)
    expected = promised(classes(oracle.output(case), dtype))
    for name in session.options.backends:
        y = load_backend(name).forward(case.spec, case.inputs, case.settings)
        found = promised(classes(y, dtype))
        np.testing.assert_array_equal(found, expected, f"{spec.name} on {name}")
