"""Every float16 there is; the sweep of every float32 is a command, and its result is a page."""

from __future__ import annotations

import json
import multiprocessing.pool
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest

from twingrad.backends.numpy_backend.kernels import KERNELS
from twingrad.core.spec import Array
from twingrad.parity_tests.faults import tanh
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.runs.exhaustive import run as sweeps
from twingrad.parity_tests.runs.exhaustive.digest import digest, pages
from twingrad.parity_tests.runs.exhaustive.functions import functions
from twingrad.parity_tests.runs.exhaustive.sweep import (
    BLOCK,
    Tally,
    floats,
    number_of_floats,
    sweep,
)

ALL = number_of_floats("float16")
# Half a unit for the last rounding; float16 is computed in float32, whose own rounding comes first.
CORRECTLY_ROUNDED = 0.5 + 2.0**-13
RESULTS = Path(__file__).parent / "runs" / "results" / sweeps.RESULT


@pytest.fixture(scope="module")
def tallies(session: Session) -> dict[str, dict[tuple[str, str], Tally]]:
    return {
        name: sweep(function, "float16", 0, ALL, session.options.backends)
        for name, function in functions().items()
    }


@pytest.mark.parametrize("name", functions())
def test_every_float16_is_rounded_correctly(
    name: str, tallies: dict[str, dict[tuple[str, str], Tally]]
) -> None:
    """By the handwritten kernels, forward and gradient, in its class, in range and in order."""
    for what in ("y", "grad_x"):
        tally = tallies[name]["numpy", what]
        assert tally.ulp <= CORRECTLY_ROUNDED, f"{what} at {tally.ulp_at:#x}"
        assert tally.tiny <= CORRECTLY_ROUNDED, f"{what} at {tally.tiny_at:#x}"
        assert not tally.turns, f"{what} at {tally.turns_at:#x}"


@pytest.mark.parametrize("name", functions())
def test_no_float16_leaves_its_class_or_range(
    name: str, tallies: dict[str, dict[tuple[str, str], Tally]]
) -> None:
    for (backend, what), tally in tallies[name].items():
        assert not tally.wrong_class, f"{what} on {backend} at {tally.wrong_class_at:#x}"
        assert not tally.out_of_range, f"{what} on {backend} at {tally.out_of_range_at:#x}"


@pytest.mark.parametrize("name", functions())
def test_the_truth_has_the_digits_of_float64(name: str) -> None:
    """On a sample of all float32 in every binade, against mpmath."""
    half = number_of_floats("float32") // 2
    keys = np.arange(half // 64, number_of_floats("float32"), half // 64)
    x = np.concatenate([floats("float32", key, key + 1) for key in keys.tolist()])
    x = x[np.isfinite(x) & (np.abs(x) < 700)]
    import torch

    for what, side in functions()[name].directions.items():
        inside = x[x > 0] if side.positive or functions()[name].positive else x
        truth = side.truth(torch.from_numpy(inside.astype(np.float64))).numpy()
        for value, number in zip(truth, inside.tolist(), strict=True):
            with mpmath.workdps(60):
                exact = side.exact(mpmath.mpf(number))
                error = float(abs(mpmath.mpf(float(value)) - exact))
                # A float32's last digit is 2^29 units of float64 away.
                allowed = float(abs(exact)) * 2.0**-53 * 2**12 + 2.0**-149 * 2.0**-12
                allowed += 2.0**-53 if side.truth_cancels else 0
            assert error <= allowed, (what, number)


def test_floats_come_in_order_and_none_is_missing() -> None:
    x = floats("float16", 0, ALL)
    assert len(set(x.view(np.uint16).tolist())) == ALL
    numbers = x[~np.isnan(x)]
    assert (np.diff(numbers.astype(np.float64)) >= 0).all()
    assert np.isnan(x[0])
    assert np.isnan(x[-1])


@pytest.mark.parametrize(
    ("fault", "sees"),
    [
        (lambda y: np.where(np.arange(y.size) == 7, np.nan, y), "wrong_class"),
        (lambda y: np.where(np.abs(y) == 1, 2 * y, y), "out_of_range"),
        (lambda y: np.where(np.arange(y.size) % 2 == 1, y * 0.75, y), "turns"),
        (lambda y: y * (1 + 2.0**-7), "ulp"),
    ],
)
def test_a_sweep_sees_a_fault(fault: Any, sees: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = KERNELS["tanh"]

    def forward(x: Array) -> tuple[Array, Any]:
        y, saved = honest.forward(x)
        return np.asarray(fault(y), y.dtype), saved

    monkeypatch.setitem(KERNELS, "tanh", honest._replace(forward=forward))
    start = ALL // 2 + BLOCK // 8  # positive numbers, of every kind
    tally = sweep(functions()["tanh"], "float16", start, ALL, ("numpy",))["numpy", "y"]
    assert getattr(tally, sees) > (1 if sees == "ulp" else 0)


def test_a_sweep_sees_what_a_bound_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 - y^2 is within rounding of 1, and has no digit right where tanh' is small."""
    wrong = KERNELS["tanh"]._replace(backward=tanh.gradient_from_y)
    monkeypatch.setitem(KERNELS, "tanh", wrong)
    tally = sweep(functions()["tanh"], "float16", 0, ALL, ("numpy",))["numpy", "grad_x"]
    assert max(tally.ulp, tally.tiny) > CORRECTLY_ROUNDED


@pytest.mark.parametrize(
    "helper",
    [
        "backends/numpy_backend/gelu.py",
        "backends/numpy_backend/normal.py",
        "backends/numpy_backend/blocks.py",
        "backends/numpy_backend/dispatch.py",
        "backends/torch_backend/gelu.py",
        "backends/torch_backend/ordinary.py",
        "parity_tests/laws/gelu.py",
        "parity_tests/laws/sigmoid.py",
        "parity_tests/laws/sweeps.py",
        "parity_tests/runs/exhaustive/sweep.py",
    ],
)
def test_a_sweep_is_stale_when_a_page_that_it_runs_has_changed(helper: str) -> None:
    def changed(path: Path) -> bytes:
        return path.read_bytes() + (b"#" if path.as_posix().endswith(helper) else b"")

    before, after = (
        digest("gelu", "float32", ("numpy", "torch"), read) for read in (Path.read_bytes, changed)
    )
    assert before != after


def test_a_sweep_stays_when_the_page_of_another_layer_has_changed() -> None:
    names = {path.name for path in pages("gelu", ("numpy", "torch"))}
    assert "gelu.py" in names
    assert not names & {"tanh.py", "softmax.py", "attention.py", "adamw.py"}


def test_a_sweep_goes_on_where_it_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks that are there are not run again; one of other kernels, or cut short, is."""
    monkeypatch.setattr(sweeps, "CHUNK", 2**14)
    monkeypatch.setattr(sweeps, "_pool", lambda jobs: multiprocessing.pool.ThreadPool(1))
    swept: list[int] = []

    def counted(work: Any) -> Any:
        swept.append(work[2])
        return honest(work)

    honest = sweeps._sweep_chunk
    monkeypatch.setattr(sweeps, "_sweep_chunk", counted)
    first = sweeps.run(["relu"], "float16", ("numpy",), tmp_path, 1)
    assert len(swept) == 4
    path = tmp_path / "relu-float16.jsonl"
    lines = path.read_text().splitlines()
    stale = json.loads(lines[1]) | {"identity": "other kernels"}
    path.write_text("\n".join([lines[0], json.dumps(stale), lines[2], lines[3][:50]]))
    again = sweeps.run(["relu"], "float16", ("numpy",), tmp_path, 1)
    assert len(swept) == 6
    assert again["rows"] == first["rows"]
    assert json.loads((tmp_path / sweeps.RESULT).read_text())["rows"] == first["rows"]


def test_the_result_that_is_shipped_is_complete_and_good() -> None:
    """All float32, through every function, in both directions, on both backends."""
    result = json.loads(RESULTS.read_text(encoding="utf-8"))
    rows = {(r["function"], r["direction"], r["backend"]): r for r in result["rows"]}
    assert len(rows) == 4 * len(functions())
    for (name, what, backend), row in rows.items():
        positive = functions()[name].directions[what].positive
        assert row["count"] == number_of_floats("float32") // (2 if positive else 1)
        assert not row["wrong_class"]
        if backend == "numpy":
            assert not row["out_of_range"]
            assert row["max_ulp"] <= 2 * max(rows[name, what, "torch"]["max_ulp"], 0.5)
    assert not sweeps.faults(result)
