"""Blocks that run twice: the same gradients to the bit, for less memory."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import twingrad as tg
from twingrad.core.errors import GradientError
from twingrad.core.spec import Array
from twingrad.models.bert.config import BertConfig
from twingrad.models.bert.model import Bert

CONFIG = BertConfig(
    vocab_size=50, hidden_size=16, layers=4, heads=2, intermediate_size=64, max_positions=64
)
IDS = np.random.default_rng(0).integers(0, 50, (8, 64))


def trained(
    backend: str, recomputes: bool, steps: int = 2, config: BertConfig = CONFIG
) -> list[Array]:
    """Return all gradients of some steps; dropout draws anew in each."""
    model = tg.build(Bert(config), backend=backend, seed=0, dtype="float32")
    model.recomputes = recomputes
    found = []
    for _ in range(steps):
        model.zero_grad()
        y = model(IDS).hidden
        y.backward(tg.load_backend(backend).tensor(np.cos(np.arange(y.shape[-1]) + tg.to_numpy(y))))
        found += [tg.to_numpy(p.grad) for p in model.parameters() if p.grad is not None]
    return found


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_blocks_that_run_twice_have_the_same_gradients(backend: str) -> None:
    once, twice = trained(backend, False), trained(backend, True)
    assert len(once) == len(twice) > 50
    for one, other in zip(once, twice, strict=True):
        assert one.tobytes() == other.tobytes()


def test_blocks_that_run_twice_need_less_memory() -> None:
    def peak(recomputes: bool) -> int:
        tracemalloc.start()
        try:
            trained("numpy", recomputes, 1, replace(CONFIG, layers=8))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(True)  # what is kept between calls is there now
    assert peak(True) < 0.6 * peak(False)


def test_a_parameter_changed_in_between_is_an_error() -> None:
    model: Any = tg.build(Bert(CONFIG), backend="numpy", seed=0)
    model.recomputes = True
    loss = model(IDS).hidden.sum()
    weight = model.layers[0].feed_forward.output.weight
    weight.replace_(weight.numpy() + 1)
    with pytest.raises(GradientError, match="recompute was changed in place"):
        loss.backward()


def test_nothing_is_recorded_where_nothing_is_wanted() -> None:
    model: Any = tg.build(Bert(CONFIG), backend="numpy", seed=0)
    model.recomputes = True
    with tg.no_grad():
        assert not model(IDS).hidden.requires_grad
