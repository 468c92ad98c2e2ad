"""`twingrad bench`: every layer and optimizer in turns on both backends, as a table and as data."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from twingrad.benchmarks import bench_layers, bench_mlp, bench_optimizers
from twingrad.core.layers import LAYERS
from twingrad.core.optimizers import OPTIMIZERS

BOTH = ("numpy", "torch")
QUICK = ("--size", "small", "--repeats", "1")


def test_every_layer_is_timed() -> None:
    for size in ("small", "medium", "large"):
        names = [case.name for case in bench_layers.cases(size, "float32", BOTH, tuple(LAYERS))]
        for layer in LAYERS:
            assert any(name.split()[0] == layer and "backward" in name for name in names), layer


def test_every_optimizer_and_both_networks_are_timed() -> None:
    names = [case.name for case in bench_optimizers.cases("small", "float32", BOTH)]
    assert {name.split()[0] for name in names} == set(OPTIMIZERS)
    networks = [case.name for case in bench_mlp.cases("medium", "float32", BOTH)]
    assert any("2-5-3-1" in name for name in networks)
    assert len(networks) >= 2


def test_the_results_are_data(twingrad: Callable[..., Any], tmp_path: Path) -> None:
    file, plot = tmp_path / "bench.json", tmp_path / "bench.png"
    done = twingrad("bench", *QUICK, "--layers", "tanh,linear", "--json", file, "--plot", plot)
    assert done.code == 0, done.err
    assert "tanh" in done.out
    data = json.loads(file.read_text())
    assert set(data) == {"environment", "rows"}
    assert {row["backend"] for row in data["rows"]} >= set(BOTH)
    for row in data["rows"]:
        keys = ("suite", "case", "backend", "work", "median_s", "iqr_s", "peak_mib", "bound_s")
        assert set(keys) <= set(row)
        assert math.isfinite(row["median_s"])
        assert row["median_s"] > 0
        assert row["peak_mib"] >= 0
    assert plot.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_one_backend_can_be_timed_alone(twingrad: Callable[..., Any]) -> None:
    done = twingrad("bench", *QUICK, "--suite", "mlp", "--backend", "numpy")
    assert done.code == 0, done.err
    assert "2-5-3-1" in done.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--size", "huge"), "huge"),
        (("--suite", "cnn"), "cnn"),
        (("--layers", "tahn"), "tahn"),
        (("--dtype", "int8"), "int8"),
        (("--backend", "tensorflow"), "tensorflow"),
    ],
)
def test_a_wrong_call_is_refused(
    arguments: tuple[str, ...], words: str, twingrad: Callable[..., Any]
) -> None:
    done = twingrad("bench", *arguments)
    assert done.code == 2, done
    assert words in done.err
    assert "Traceback" not in done.out + done.err


def test_an_unwritable_file_leaves_nothing(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    target = tmp_path / "file" / "bench.json"
    refused(1, "bench", *QUICK, "--layers", "relu", "--json", target)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
