"""`twingrad parity`: a table that says who is right, and a disagreement that can be seen again."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from twingrad.backends.numpy_backend.kernels import KERNELS
from twingrad.core.environment import cpu_features
from twingrad.parity_tests.faults.distortions import distorted_gradient
from twingrad.parity_tests.judge import options
from twingrad.parity_tests.runs import dispatch
from twingrad.parity_tests.runs.suite import Collector, print_findings, run, table


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from twingrad.cli import main; main()", "parity", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def written(collector: Collector) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    print_findings(console, collector)
    console.print(table(collector))
    return console.export_text()


def test_an_honest_layer_agrees() -> None:
    done = command("--layers", "tanh,sgd", "--examples", "3", "--seed", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^tanh +\d+ .* agree", done.stdout, re.MULTILINE)
    assert re.search(r"^sgd +\d+ .* agree", done.stdout, re.MULTILINE)
    assert "seed 1" in done.stdout
    assert "gelu" not in done.stdout


def test_the_same_seed_gives_the_same_table() -> None:
    arguments = ("--layers", "softmax", "--examples", "3", "--seed", "5", "--jobs", "1")
    first, second = (command(*arguments).stdout.splitlines() for _ in range(2))
    rows = [line for line in first if line.startswith("softmax")]
    assert rows
    assert rows == [line for line in second if line.startswith("softmax")]


def test_a_fault_is_named_with_its_side_its_place_and_its_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = distorted_gradient(KERNELS["tanh"], 0, lambda x: x * np.float32(1.001).astype(x.dtype))
    monkeypatch.setitem(KERNELS, "tanh", wrong)
    chosen = options.Options(layers=("tanh",), dtypes=("float64",), examples=10, seed=3)
    collector, _, code = run(chosen, jobs=1)
    text = written(collector)
    assert code == 1
    assert re.search(r"tanh \(float64\): grad_x\[.*\] is wrong on numpy, right on torch", text)
    assert "definition" in text
    assert "ulp" in text
    assert "inputs:" in text
    again = "twingrad parity --layers tanh --dtype float64 --examples 10 --seed 3"
    assert again in text
    assert re.search(r"^tanh .* numpy wrong", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--layers", "tahn"), "unknown layer 'tahn'"),
        (("--dtype", "int8"), "dtype must be one of"),
        (("--examples", "0"), "--examples must be an integer >= 1"),
        (("--seed", "-1"), "seed must be an integer >= 0"),
        (("--backend", "tensorflow"), "unknown backend 'tensorflow'"),
        (("--backend", "torch", "--reference", "torch"), "--reference must be another backend"),
        (("--jobs", "-2"), "--jobs must be an integer >= 0"),
        (("--profile", "fast"), "--profile must be one of dev, ci, nightly; got 'fast'"),
        (("--trajectory", "bert"), "--trajectory must be one of ['mlp', 'block']; got 'bert'"),
        (("--exhaustive", "--layers", "linear"), "--exhaustive is for functions of one variable"),
        (("--exhaustive", "--dispatch"), "--exhaustive and --dispatch are different runs"),
    ],
)
def test_a_wrong_call_is_one_line(
    arguments: tuple[str, ...], words: str, refused: Callable[..., str]
) -> None:
    assert words in refused(2, "parity", *arguments)


def test_a_run_that_draws_more_is_a_profile() -> None:
    arguments = ("--layers", "relu", "--dtype", "float32", "--jobs", "1", "--seed", "1")
    done = command(*arguments, "--profile", "ci")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 examples" in done.stdout


def test_two_runs_that_do_not_part_say_so() -> None:
    done = command("--trajectory", "mlp", "--seed", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mlp: numpy and torch do not part in 200 steps" in done.stdout


def test_each_instruction_set_is_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the children are told changes what their libraries use."""
    low = dispatch.KERNEL_CHOICES[-1]
    monkeypatch.setattr(dispatch, "KERNEL_CHOICES", (low,))
    chosen = options.Options(layers=("relu",), dtypes=("float32",), examples=2, seed=1)
    (run,) = dispatch.run(chosen, jobs=1)
    assert run.code == 0, run.output
    assert re.fullmatch(r"\d+ laws hold, 0 do not", run.summary)
    assert run.kernels.startswith("numpy ")
    if "X86_V3" in cpu_features():
        assert "X86_V3" not in run.kernels
        assert "torch DEFAULT" in run.kernels


def test_an_option_is_read_where_the_suite_is_named_as_a_package(tmp_path: Path) -> None:
    """`pytest --pyargs twingrad.parity_tests... --backend NAME`, from any folder."""
    arguments = ["--pyargs", "twingrad.parity_tests.test_forward", "-p", "no:cacheprovider", "-q"]
    arguments += ["--backend", "torch", "--layers", "relu", "--examples", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
