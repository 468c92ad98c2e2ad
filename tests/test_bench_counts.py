"""A training step does no more than it did: kernels, nodes of the tape, arrays, bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from twingrad.backends.numpy_backend import kernels
from twingrad.benchmarks.counts import STEPS, Counts, count, count_all, grown

FILE = Path(__file__).parent.parent / "benchmarks" / "counts.json"


@pytest.fixture(scope="module")
def committed() -> dict[str, Counts]:
    counts: dict[str, Counts] = json.loads(FILE.read_text(encoding="utf-8"))
    return counts


def test_no_count_has_grown(committed: dict[str, Counts]) -> None:
    """Where a count had to grow, `twingrad bench --counts` writes the file anew."""
    found = count_all()
    assert set(found) == set(committed)
    assert not grown(found, committed)


@pytest.mark.parametrize("step", STEPS)
def test_counts_are_the_same_every_time(step: str) -> None:
    first, second = count(STEPS[step]()), count(STEPS[step]())
    for name, value in first.items():
        # Python's own objects are in the bytes, and a dict or two may have grown.
        assert second[name] == pytest.approx(value, rel=1e-3), name


@pytest.mark.parametrize("which", ["forward", "backward"])
def test_a_needless_copy_is_noticed(
    which: str, committed: dict[str, Counts], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = kernels.KERNELS["gelu"]
    passes = {"forward": slow_forward, "backward": slow_backward}
    slow = honest._replace(**{which: passes[which](getattr(honest, which))})
    monkeypatch.setitem(kernels.KERNELS, "gelu", slow)
    step = next(name for name in STEPS if name.startswith("bert"))
    lines = grown({step: count(STEPS[step]())}, committed)
    assert any("allocated_bytes" in line for line in lines), lines


def slow_forward(honest: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, **settings: honest(x.copy().copy(), **settings)


def slow_backward(honest: Callable[..., Any]) -> Callable[..., Any]:
    return lambda grad_y, saved: honest(grad_y.copy().copy(), saved)


def test_the_command_writes_the_counts(twingrad: Callable[..., Any], tmp_path: Path) -> None:
    done = twingrad("bench", "--counts", tmp_path / "counts.json")
    assert done.code == 0, done.err
    assert set(json.loads((tmp_path / "counts.json").read_text())) == set(STEPS)
