"""The oracles themselves: three that share no code agree, before any of them may judge."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from twingrad.core.catalogue import LAYERS, is_own
from twingrad.core.layers.sigmoid import sigmoid
from twingrad.core.spec import Array, LayerSpec
from twingrad.parity_tests.judge import votes
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.judge.strategies import cases
from twingrad.parity_tests.laws.table import told


@given(data=st.data())
def test_the_oracles_agree(spec: LayerSpec, dtype: str, data: st.DataObject) -> None:
    """On any element of y and of every gradient, each is supported by all others."""
    case = data.draw(cases(spec, dtype, min_length=1))
    names = case.inputs if spec.variadic else spec.differentiable
    for what in ("y", *(f"grad_{name}" for name in names if name in case.inputs)):
        shape = case.grad_y.shape if what == "y" else case.inputs[what.removeprefix("grad_")].shape
        size = int(np.prod(shape))
        if size:
            place = data.draw(st.integers(0, size - 1), label=f"element of {what}")
            index = tuple(int(i) for i in np.unravel_index(place, shape))
            cast = votes.votes(case, what, index)
            assert all(vote.supporters == len(cast) - 1 for vote in cast), (what, index, cast)


def test_every_layer_is_in_the_textbook() -> None:
    without = [name for name in LAYERS if is_own(name) and told(name, "truth") is None]
    assert not without


def test_a_wrong_definition_is_out_voted(dtype: str) -> None:
    """Not the backends are blamed then, although they are both far from it."""
    honest = LAYERS["sigmoid"]

    def wrong(x: Array) -> Array:
        return sigmoid(x) * 1.001

    spec = LayerSpec(
        **{
            field: getattr(honest, field)
            for field in ("name", "formula", "inputs", "output", "source")
        },
        definition=wrong,
    )
    case = Case(spec, {"x": np.linspace(-2, 2, 5).astype(dtype)}, {}, np.ones(5, dtype))
    for what in ("y", "grad_x"):
        words = "\n".join(votes.in_words(case, what, (3,)))
        # In float64 two oracles remain, and which of two is wrong no vote can tell.
        assert ("out-voted" if dtype == "float32" else "all differ") in words
