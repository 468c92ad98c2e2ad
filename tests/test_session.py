"""A session keeps to itself: what is planted in one leaves no trace in the table of another."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from twingrad.backends.numpy_backend.kernels import KERNELS
from twingrad.core.catalogue import LAYERS
from twingrad.core.command_options import from_args, to_args
from twingrad.parity_tests.faults.distortions import distorted_output
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.judge.checks import Disagreement, check_forward
from twingrad.parity_tests.judge.options import Options
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.runs.report import document
from twingrad.parity_tests.runs.suite import Collector, run, table

PLANTING = ("test_planted_faults.py", "test_fairness.py", "test_properties.py")


def printed(collector: Collector) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(table(collector))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def seen(collector: Collector, folder: Path, laws: set[str]) -> tuple[Any, ...]:
    """Return what a run shows, but for when it was made, and of the laws that are named."""
    shown = document(folder, collector, 0.0)
    about = [law for law in shown["laws"] if law["file"] in laws]
    for law in about:
        del law["seconds"]
    measured = {key: shown["summary"][key] for key in ("failed", "cases")}
    return shown["rows"], shown["findings"], shown["other"], measured, about, shown["bins"]


@pytest.mark.parametrize(
    ("layers", "planting", "measuring"),
    [
        (("tanh", "softmax", "layer_norm"), PLANTING, ("test_forward.py", "test_gradient.py")),
        ((), ("test_vacuity.py",), ("test_forward.py",)),  # it is about all layers, or none
    ],
)
def test_planted_faults_leave_the_table_and_the_report_as_they_are(
    layers: tuple[str, ...], planting: tuple[str, ...], measuring: tuple[str, ...], tmp_path: Path
) -> None:
    # What plants comes first, so that anything left behind would be seen by what measures.
    chosen = Options(layers=layers, dtypes=("float64",), examples=2, seed=1)
    laws = {name.removesuffix(".py") for name in measuring}
    planted, words, code = run(chosen, 1, (*planting, *measuring), quiet=True)
    assert code == 0, words
    assert {law["file"] for law in planted.laws} - laws, "nothing was planted"
    alone, words, code = run(chosen, 1, measuring, quiet=True)
    assert code == 0, words
    assert printed(planted) == printed(alone)
    assert seen(planted, tmp_path, laws) == seen(alone, tmp_path, laws)


def test_a_fault_of_the_fused_kernel_is_in_no_record() -> None:
    """Beside it, that kernel is measured as it is."""
    chosen = Options(layers=("attention",), dtypes=("float64",), examples=2, seed=1)
    collector, words, code = run(chosen, 1, ("test_fused_attention.py",), quiet=True)
    assert code == 0, words
    measured = {row["law"] for row in collector.measured}
    assert measured == {"test_fused_attention_is_within_its_bound"}
    assert {law["law"] for law in collector.laws} > measured


def test_what_is_judged_apart_is_in_no_record_but_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(Options(seed=1))
    case = Case(LAYERS["tanh"], {"x": np.linspace(-1, 1, 5)}, {}, np.ones(5))
    check_forward(case, session)
    before = {key: replace(errors) for key, errors in session.record.errors.items()}
    wrong = distorted_output(KERNELS["tanh"], lambda y: -y)
    monkeypatch.setitem(KERNELS, "tanh", wrong)
    apart = session.apart(examples=3)
    with pytest.raises(Disagreement):
        check_forward(case, apart)
    assert session.record.errors == before
    assert apart.options == replace(session.options, examples=3)


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(layers=("gelu", "adamw"), dtypes=("float32",), examples=7, seed=3),
        Options(profile="ci", examples=40, backend="torch", reference="numpy", calibrating=True),
    ],
)
def test_the_options_of_a_run_are_read_as_they_are_said(options: Options) -> None:
    assert from_args(Options, to_args(options)) == options
