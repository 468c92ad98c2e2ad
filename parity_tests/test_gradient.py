"""Both backends return the definition's gradient for every input, under any upstream gradient."""

import hypothesis.strategies as st
from hypothesis import given

from twingrad.core.spec import LayerSpec
from twingrad.parity_tests.judge.checks import check_gradient
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.judge.strategies import cases, large_cases


@given(data=st.data())
def test_gradients_are_within_their_bound(
    spec: LayerSpec, dtype: str, session: Session, data: st.DataObject
) -> None:
    check_gradient(data.draw(cases(spec, dtype)), session)


@given(data=st.data())
def test_gradients_of_large_arrays_are_within_their_bound(
    spec: LayerSpec, dtype: str, session: Session, data: st.DataObject
) -> None:
    check_gradient(data.draw(large_cases(spec, dtype)), session)
