"""A layer of another package, installed beside the wheel: judged, listed, measured and trained."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "examples" / "rms_norm"
FEW = ("--layers", "rms_norm", "--jobs", "1", "--seed", "1")


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but twingrad, from its wheel, and the package."""
    folder = tmp_path_factory.mktemp("site")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps")
    alone = ("--no-build-isolation", "--target", str(folder), str(wheel), str(PACKAGE))
    subprocess.run([*pip, *alone], check=True, capture_output=True)
    return folder


def run(site: Path, tmp_path: Path, *arguments: str) -> str:
    """Run Python with what is in the folder, anywhere else, and return what it printed."""
    environment = os.environ | {"PYTHONPATH": str(site), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def twingrad(site: Path, tmp_path: Path, *arguments: str) -> str:
    return run(site, tmp_path, "-c", "from twingrad.cli import main; main()", *arguments)


def test_the_laws_hold_for_it(site: Path, tmp_path: Path) -> None:
    """Those of every layer and its own; as many as a layer of ours has of the same kind."""
    report = ("--report", str(tmp_path / "report"))
    printed = twingrad(site, tmp_path, "parity", *FEW, "--examples", "4", *report)
    assert "0 do not" in printed
    row = next(line for line in printed.splitlines() if line.startswith("rms_norm"))
    assert row.rstrip().endswith("agree")
    text = (tmp_path / "report" / "report.json").read_text(encoding="utf-8")
    for law in ("test_gradients_are_within_their_bound", "a power of two changes nothing but eps"):
        assert law in text


def test_its_files_are_shown_where_they_are(site: Path, tmp_path: Path) -> None:
    printed = twingrad(site, tmp_path, "layers", "rms_norm")
    for name in ("layer", "numpy_backend", "torch_backend"):
        assert f"twingrad_rms_norm/{name}.py" in printed
    assert "rms_norm" in twingrad(site, tmp_path, "layers")


def test_it_is_measured(site: Path, tmp_path: Path) -> None:
    few = ("--layers", "rms_norm", "--size", "small", "--repeats", "1")
    printed = twingrad(site, tmp_path, "bench", *few)
    assert "rms_norm forward+backward" in printed


def test_its_mutants_are_killed(site: Path, tmp_path: Path) -> None:
    printed = twingrad(site, tmp_path, "mutants", *FEW, "--sample", "25")
    assert "0 survive without a reason" in printed


def test_it_trains_to_one_curve_on_both_backends(site: Path, tmp_path: Path) -> None:
    curves = [
        run(site, tmp_path, str(PACKAGE / "train.py"), backend).partition(":")[2]
        for backend in ("numpy", "torch")
    ]
    assert curves[0] == curves[1]
