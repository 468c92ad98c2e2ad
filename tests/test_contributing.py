"""CONTRIBUTING is true to the letter: its five steps, taken as they stand, make a whole layer."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
NAME = "softsign"
CONTENTS = "core/layers/__init__.py"
# What the steps may touch, beside the pages that they write: the list of contents, and what the
# commands of the last step leave behind.
RECORD = f"parity_tests/records/{NAME}.json"


def steps() -> dict[str, str]:
    """Return the pages in the steps' blocks of code, by the path in their first line."""
    blocks = re.findall(r"```python\n# (\S+\.py)\n(.*?)```", TEXT, re.DOTALL)
    return dict(blocks)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in which the first four steps were taken."""
    copy = tmp_path_factory.mktemp("checkout") / "twingrad"
    files = run(ROOT, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for file in map(Path, files.strip("\0").split("\0")):
        if (ROOT / file).exists():
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, copy / file, follow_symlinks=False)
    run(copy, "git", "init", "--quiet")
    run(copy, "git", "add", "--all")
    for path, page in steps().items():
        file = copy / path
        if path == CONTENTS:
            contents = file.read_text(encoding="utf-8")
            last = contents.rindex("\nfrom twingrad.core.layers.") + 1
            contents = contents[:last] + page + contents[last:]
            file.write_text(contents.replace("__all__ = [\n", '__all__ = [\n    "Softsign",\n'))
        else:
            assert not file.exists()
            file.write_text(page, encoding="utf-8")
    return copy


def run(folder: Path, *command: str) -> str:
    """Run a command in a checkout, with that checkout's twingrad, and return what it printed."""
    environment = os.environ | {"PYTHONPATH": str(folder / "src"), "COLUMNS": "200"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def twingrad(folder: Path, *arguments: str) -> str:
    program = "from twingrad.cli import main; main()"
    return run(folder, sys.executable, "-c", program, *arguments)


def changed(folder: Path) -> set[str]:
    """Return the files that are new or different since the copy was made."""
    lines = run(folder, "git", "status", "--porcelain", "--untracked-files=all").splitlines()
    return {line[3:] for line in lines if line[1] != " "}


def test_the_pages_are_those_of_a_layer() -> None:
    assert set(steps()) == {
        f"core/layers/{NAME}.py",
        CONTENTS,
        f"backends/numpy_backend/{NAME}.py",
        f"backends/torch_backend/{NAME}.py",
        f"parity_tests/laws/{NAME}.py",
    }


def test_the_steps_make_a_layer_and_touch_nothing_else(checkout: Path) -> None:
    """Calibrated, judged, listed, measured and mutated; its module trains."""
    few = ("--layers", NAME, "--examples", "4", "--jobs", "1", "--seed", "1")
    twingrad(checkout, "parity", "--calibrate", *few)
    assert json.loads((checkout / RECORD).read_text(encoding="utf-8"))
    assert "0 do not" in twingrad(checkout, "parity", *few)
    listed = twingrad(checkout, "layers", NAME)
    for page in steps():
        if page != CONTENTS and "laws" not in page:
            assert page in listed, listed
    assert NAME in twingrad(
        checkout, "bench", "--layers", NAME, "--size", "small", "--repeats", "1"
    )
    assert "0 survive without a reason" in twingrad(
        checkout, "mutants", "--layers", NAME, "--sample", "12", "--jobs", "1"
    )
    program = """
import numpy as np, twingrad as tg
for backend in tg.backends():
    model = tg.build(tg.Sequential(tg.Linear(2, 2), tg.Softsign()), backend)
    model(np.ones((1, 2), "float32")).sum().backward()
"""
    run(checkout, sys.executable, "-c", program)
    assert changed(checkout) - {"CHANGELOG.md"} == {*steps(), RECORD}


def test_the_completeness_laws_ask_for_nothing_else(checkout: Path) -> None:
    suite = ("parity_tests/test_completeness.py", "parity_tests/test_oracles.py")
    asked = ("--layers", NAME, "--examples", "3", "-p", "no:cacheprovider", "-q")
    assert " passed" in run(checkout, sys.executable, "-m", "pytest", *suite, *asked)


def test_the_pages_are_typed_and_tidy(checkout: Path) -> None:
    pages = [path for path in steps() if path != CONTENTS]
    run(checkout, sys.executable, "-m", "ruff", "check", *pages)
    run(checkout, sys.executable, "-m", "ruff", "format", "--check", *pages)
    modules = [f"twingrad.{path.removesuffix('.py').replace('/', '.')}" for path in pages]
    flags = [word for module in modules for word in ("-m", module)]
    run(checkout, sys.executable, "-m", "mypy", *flags)
