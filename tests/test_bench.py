"""`twingrad bench`: every layer and optimizer in turns on both backends, as a table and as data."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from twingrad.benchmarks import bench_import, bench_layers, bench_mlp, bench_optimizers, run
from twingrad.benchmarks.command import SUITES as COMMAND_SUITES
from twingrad.benchmarks.growth import growths
from twingrad.benchmarks.limits import Limits
from twingrad.benchmarks.measure import Measurement, measure
from twingrad.benchmarks.run import SUITES, Request, benchmarks_of
from twingrad.core.catalogue import LAYERS, OPTIMIZERS

BOTH = ("numpy", "torch")
QUICK = ("--size", "small", "--repeats", "1")


def test_every_layer_is_timed() -> None:
    for size in ("small", "medium", "large"):
        names = [benchmark.name for benchmark in bench_layers.benchmarks(size, "float32", BOTH)]
        for layer in LAYERS:
            assert any(name.split()[0] == layer and "backward" in name for name in names), layer


def test_every_optimizer_and_both_networks_are_timed() -> None:
    names = [benchmark.name for benchmark in bench_optimizers.benchmarks("small", "float32", BOTH)]
    assert {name.split()[0] for name in names} == set(OPTIMIZERS)
    networks = [benchmark.name for benchmark in bench_mlp.benchmarks("medium", "float32", BOTH)]
    assert any("2-5-3-1" in name for name in networks)
    assert len(networks) >= 2


def test_every_suite_has_cases_with_a_bound_at_every_size() -> None:
    """What needs no products moves bytes; only a process of its own has no bound."""
    assert tuple(SUITES) == COMMAND_SUITES
    for suite in SUITES:
        for size in ("small", "medium", "large"):
            benchmarks = list(benchmarks_of(Request((suite,), size, "float32", BOTH), suite))
            assert benchmarks, (suite, size)
            assert len({benchmark.name for benchmark in benchmarks}) == len(benchmarks)
            for benchmark in benchmarks:
                assert suite == "import" or benchmark.bytes > 0, benchmark.name


def test_a_bound_is_the_longer_of_products_and_traffic() -> None:
    limits = Limits(flops_per_s=100.0, bytes_per_s={1000: 50.0, 8000: 10.0})
    assert limits.bound_s(0, 0) is None
    assert limits.bound_s(200, 50) == 2.0
    assert limits.bound_s(200, 500) == 10.0  # fits the smaller working set
    assert limits.bound_s(0, 9000) == 900.0


def test_growth_of_a_known_power_is_found() -> None:
    rows = [
        Measurement(
            "scaling", f"n {n}", "numpy", "", 3e-6 * n**1.5, 0.0, 2.0 * n**2, None, "c", "n", n
        )
        for n in (8, 16, 64)
    ]
    found = {growth.measure: growth for growth in growths(rows)}
    assert found["median_s"].exponent == 1.5
    assert found["peak_mib"].exponent == 2.0
    assert found["median_s"].points == 3
    assert not growths(rows[:1])


def test_the_results_are_data(twingrad: Callable[..., Any], tmp_path: Path) -> None:
    file, plot = tmp_path / "bench.json", tmp_path / "bench.png"
    done = twingrad("bench", *QUICK, "--layers", "tanh,linear", "--json", file, "--plot", plot)
    assert done.code == 0, done.err
    assert "tanh" in done.out
    data = json.loads(file.read_text())
    assert set(data) == {"environment", "rows"}
    assert data["environment"]["bench"]["limits"]["flops_per_s"] > 0
    assert {row["backend"] for row in data["rows"]} >= set(BOTH)
    for row in data["rows"]:
        keys = ("suite", "case", "backend", "work", "median_s", "iqr_s", "peak_mib", "bound_s")
        assert set(keys) <= set(row)
        assert math.isfinite(row["median_s"])
        assert row["median_s"] > 0
        assert row["peak_mib"] >= 0
        assert row["bound_s"] > 0
    assert plot.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_curves_have_exponents_and_lines(twingrad: Callable[..., Any], tmp_path: Path) -> None:
    file, plot = tmp_path / "bench.json", tmp_path / "bench.svg"
    done = twingrad(
        "bench", *QUICK, "--suite", "attention", "--backend", "numpy", "--json", file,
        "--plot", plot,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "exponents" in done.out
    data = json.loads(file.read_text())
    assert set(data) == {"environment", "rows", "exponents"}
    measured = {(each["curve"], each["axis"], each["measure"]) for each in data["exponents"]}
    assert measured == {
        (curve, "length", measure)
        for curve in ("attention", "attention causal")
        for measure in ("median_s", "peak_mib")
    }
    assert b"<svg" in plot.read_bytes()


def test_the_import_is_timed_without_torch(twingrad: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    done = twingrad("bench", *QUICK, "--suite", "import", "--backend", "numpy", "--json", file)
    assert done.code == 0, done.err
    rows = json.loads(file.read_text())["rows"]
    assert [row["case"] for row in rows] == ["import", "twingrad --help"]
    assert all(row["peak_mib"] is None and row["bound_s"] is None for row in rows)
    assert "'torch' not in sys.modules" in bench_import.OURS


def test_ctrl_c_keeps_what_was_measured(
    twingrad: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "bench.json"
    measured: list[str] = []

    def measure_or_stop(benchmark: Any, *arguments: Any, **named: Any) -> list[Measurement]:
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(benchmark.name)
        return measure(benchmark, *arguments, **named)

    monkeypatch.setattr(run, "measure", measure_or_stop)
    arguments = ("bench", *QUICK, "--layers", "relu,tanh", "--backend", "numpy", "--json", file)
    done = twingrad(*arguments)
    assert done.code == 130
    assert done.err == "twingrad: interrupted\n"
    data = json.loads(file.read_text())
    assert [row["case"] for row in data["rows"]] == measured
    assert data["environment"]["bench"]["interrupted"] is True
    assert "relu forward+backward" in done.out
    # Before anything was measured there is nothing to write, and an older file stays.
    before = file.read_bytes()
    assert twingrad(*arguments).code == 130
    assert file.read_bytes() == before


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
        (("--peers", "tensorflow"), "tensorflow"),
        (("--table", "missing.json"), "missing.json"),
        (("--table", str(Path(__file__))), "twingrad bench --json"),
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
