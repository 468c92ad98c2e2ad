"""A layer in one file: judged, shown and mutated by naming the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

LAYER = """
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch

import twingrad as tg
from twingrad.parity_tests.laws.roundings import BASIC


def squared_relu(x):
    return np.where(x.real <= 0, 0, x) ** 2


class Saved(NamedTuple):
    x: np.ndarray


def forward(x):
    return np.maximum(x, 0) ** 2, Saved(x)


def backward(grad_y, saved):
    return (2 * np.maximum(saved.x, 0) * grad_y,)


def bound(g, x):
    size = np.maximum(x, 0)
    return {"y": 2 * BASIC * size**2, "grad_x": 6 * BASIC * size * g}


tg.register_layer(
    tg.LayerSpec(
        name="squared_relu",
        formula="y = max(x, 0)^2",
        inputs={"x": "..."},
        output="...",
        source="So et al. 2021",
        definition=squared_relu,
    ),
    pages={
        "numpy": SimpleNamespace(forward=forward, backward=backward),
        "torch": SimpleNamespace(forward=lambda x: torch.relu(x) ** 2),
        "laws": SimpleNamespace(bound=bound),
    },
)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "activations.py"
    path.write_text(LAYER, encoding="utf-8")
    return path


def twingrad(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = "from twingrad.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_the_laws_hold_for_it_in_worker_processes(file: Path) -> None:
    arguments = ("--layers", f"./{file.name}", "--examples", "3", "--seed", "1", "--jobs", "2")
    done = twingrad(file.parent, "parity", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "squared_relu" in done.stdout
    assert "tanh" not in done.stdout


def test_a_fault_in_it_is_named_with_the_command_that_shows_it_again(file: Path) -> None:
    file.write_text(LAYER.replace("(2 * np.max", "(2.001 * np.max"), encoding="utf-8")
    arguments = ("--layers", file.name, "--dtype", "float32", "--examples", "5", "--jobs", "1")
    done = twingrad(file.parent, "parity", *arguments)
    assert done.returncode == 1
    assert "is wrong on numpy, right on torch" in done.stdout
    again = next(line for line in done.stdout.splitlines() if "--replay" in line)
    _, _, command = again.partition("twingrad ")
    repeated = twingrad(file.parent, *command.split())
    assert repeated.returncode == 1
    assert "is wrong on numpy, right on torch" in repeated.stdout


def test_its_mutants_are_killed_by_laws(file: Path) -> None:
    """The file registers its layer each time that it is run with a line changed."""
    found = file.with_suffix(".json")
    done = twingrad(
        file.parent, "mutants", "--layers", file.name, "--jobs", "1", "--json", str(found)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    killed = json.loads(found.read_text(encoding="utf-8"))["by_law"]
    assert killed.get("forward", 0) > 2
    assert killed.get("gradient", 0) > 2


def test_it_is_shown_in_full(file: Path) -> None:
    shown = twingrad(file.parent, "layers", file.name)
    assert shown.returncode == 0, shown.stderr
    assert "y = max(x, 0)^2" in shown.stdout
    assert str(file) in shown.stdout
    (facts,) = json.loads(twingrad(file.parent, "layers", file.name, "--json").stdout)
    assert facts["name"] == "squared_relu"
