"""The laws hold whatever the memory looks like: strided, reversed, transposed, 0-d or empty."""

from collections.abc import Callable

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from twingrad.core.registry import load_backend
from twingrad.core.spec import Array, LayerSpec
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.judge.checks import check_forward, check_gradient
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.judge.strategies import calls, cases, input_dtype, output_shape


def fortran(array: Array) -> Array:
    return np.array(array, order="F")


def every_second(array: Array) -> Array:
    wide = np.zeros((*array.shape, 2), array.dtype)
    wide[..., 0] = array
    return wide[..., 0]


def reversed_in_memory(array: Array) -> Array:
    backwards = (slice(None, None, -1),) * array.ndim + (...,)
    return np.array(array[backwards], order="C")[backwards]


def offset_by_one(array: Array) -> Array:
    buffer = np.zeros(array.size + 1, array.dtype)
    buffer[1:] = array.reshape(-1)
    return buffer[1:].reshape(array.shape)


LAYOUTS: list[Callable[[Array], Array]] = [fortran, every_second, reversed_in_memory, offset_by_one]


@given(data=st.data())
def test_layouts_do_not_matter(
    spec: LayerSpec, dtype: str, session: Session, data: st.DataObject
) -> None:
    case = data.draw(cases(spec, dtype))
    layout = data.draw(st.sampled_from(LAYOUTS), label="layout")
    inputs = {name: layout(array) for name, array in case.inputs.items()}
    for name, array in inputs.items():
        np.testing.assert_array_equal(array, case.inputs[name], strict=True)
    laid_out = Case(spec, inputs, case.settings, layout(case.grad_y))
    for name in session.options.backends:
        backend = load_backend(name)
        y, grads = backend.vjp(spec, case.inputs, lambda _: case.grad_y, case.settings)
        y2, grads2 = backend.vjp(spec, inputs, lambda _: laid_out.grad_y, case.settings)
        assert y.shape == y2.shape
        assert [g.shape for g in grads.values()] == [g.shape for g in grads2.values()]
    check_forward(laid_out, session)
    check_gradient(laid_out, session)


@given(data=st.data())
def test_empty_arrays_give_empty_gradients(
    spec: LayerSpec, dtype: str, session: Session, data: st.DataObject
) -> None:
    """With a length of 0 somewhere nothing fails, and what is not empty is right."""
    shapes, settings = data.draw(calls(spec, st.sampled_from([0, 0, 2])))
    inputs = {
        name: np.full(shape, name not in spec.indices, input_dtype(spec, name, dtype))
        for name, shape in shapes.items()
    }
    grad_y = np.ones(output_shape(spec, inputs, settings), dtype)
    case = Case(spec, inputs, settings, grad_y)
    check_forward(case, session)
    check_gradient(case, session)
