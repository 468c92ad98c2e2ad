"""torch's fused attention, which many moderate scores get, is within the bound that all have."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch.nn.functional as F
from hypothesis import given

import twingrad as tg
from twingrad.backends.torch_backend import attention
from twingrad.core.catalogue import LAYERS
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.judge.checks import check_forward, check_gradient
from twingrad.parity_tests.judge.session import Session

pytestmark = pytest.mark.about("attention")
FUSED = F.scaled_dot_product_attention
KEYS = (2, 17, 64, 200)  # around the blocks in which the kernel goes over them
MANY = 1 << 11  # scores that are enough here, so that the law takes no minutes


@st.composite
def many_scores(draw: st.DrawFn, dtype: str) -> Case:
    """Draw queries that see two keys at least, or causal ones, enough for the fused kernel."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    keys, width = draw(st.sampled_from(KEYS), label="keys"), draw(st.integers(1, 9), label="width")
    spread = draw(st.sampled_from([1e-6, 0.1, 0.7]), label="spread of queries and keys")
    heads = draw(st.integers(1, 3), label="heads")
    queries = -(-MANY // (2 * heads * keys))

    def array(*shape: int) -> Any:
        return rng.standard_normal((2, heads, *shape)).astype(dtype)

    query, key, value = array(queries, width), array(keys, width), array(keys, 5)
    limit = np.sqrt(width)
    query, key = (spread * np.clip(x, -limit, limit) for x in (query, key))
    inputs = {"query": query.astype(dtype), "key": key.astype(dtype), "value": value}
    kind = draw(st.sampled_from(["all is seen", "masked", "causal"]), label="kind")
    if kind == "masked":
        inputs["mask"] = rng.random((2, 1, 1, keys)) < 0.7
        inputs["mask"][..., :2] = True
    settings = {"causal": kind == "causal", "scale": None, "p": 0.0}
    return Case(LAYERS["attention"], inputs, settings, array(queries, 5))


@given(data=st.data())
def test_fused_attention_is_within_its_bound(
    dtype: str, session: Session, data: st.DataObject
) -> None:
    case = data.draw(many_scores(dtype), label="case")
    calls = []

    def noted(*args: Any, **settings: Any) -> Any:
        calls.append(args)
        return FUSED(*args, **settings)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(attention, "MANY", MANY)
        monkeypatch.setattr(F, "scaled_dot_product_attention", noted)
        check_forward(case, session)
        check_gradient(case, session)
        _, grads = tg.vjp("attention", case.inputs, case.grad_y, "torch", **case.settings)
    assert calls
    if case.settings["causal"]:
        assert not grads["query"][..., 0, :].any(), "the first query sees one key alone"


def test_a_fault_of_the_fused_kernel_is_seen(
    monkeypatch: pytest.MonkeyPatch, session: Session
) -> None:
    monkeypatch.setattr(
        F,
        "scaled_dot_product_attention",
        lambda *args, **settings: FUSED(*args, **settings) * 1.0001,
    )
    rng = np.random.default_rng(7)
    query, value = rng.standard_normal((2, 1, 1, 300, 4)) / 2
    case = Case(
        LAYERS["attention"],
        {"query": query, "key": query, "value": value},
        {"causal": False, "scale": None, "p": 0.0},
        rng.standard_normal(value.shape),
    )
    with pytest.raises(AssertionError):
        check_forward(case, session.apart())
