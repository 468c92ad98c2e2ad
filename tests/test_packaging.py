"""What is built is what is in the repository, and NumPy alone is enough to use it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("core", "backends", "parity_tests", "benchmarks", "models")


def test_the_wheel_holds_every_module(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            assert f"twingrad/{path.relative_to(ROOT).as_posix()}" in names
    assert {"twingrad/py.typed", "twingrad/parity_tests/suite.ini"} <= names


def test_the_wheel_works_on_numpy_alone(wheel: Path, tmp_path: Path) -> None:
    """Unpacked beside NumPy, with every optional package out of reach."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    program = """
import sys

MISSING = ("torch", "matplotlib", "sklearn", "hypothesis", "pytest", "mpmath",
    "tokenizers", "jax", "autograd", "mygrad", "tinygrad")


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Blocker())
import numpy as np
import twingrad as tg

assert "unpacked" in tg.__file__, tg.__file__
for name in tg.layers():
    assert tg.layer(name).name == name
model = tg.build(tg.Sequential(tg.Linear(2, 3), tg.LayerNorm(3), tg.GELU(), tg.Linear(3, 1)))
optimizer = tg.AdamW(model.parameters())
for _ in range(3):
    loss = tg.BCEWithLogitsLoss()(model(np.ones((4, 2), "float32")), np.ones((4, 1), "float32"))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
assert np.isfinite(float(loss))
from twingrad.cli import main

sys.argv = ["twingrad", "layers"]
try:
    main()
except SystemExit as stop:
    assert not stop.code
assert not [name for name in MISSING if name in sys.modules]
"""
    (tmp_path / "twingrad").rename(tmp_path / "unpacked_twingrad")
    (tmp_path / "unpacked").mkdir()
    (tmp_path / "unpacked_twingrad").rename(tmp_path / "unpacked" / "twingrad")
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path / "unpacked",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_installed_name_is_links_and_a_few_pages() -> None:
    folder = ROOT / "src" / "twingrad"
    for room in ROOMS:
        assert (folder / room).is_symlink()
        assert (folder / room).resolve() == ROOT / room
    own = {path.name for path in folder.iterdir() if path.is_file() and not path.is_symlink()}
    assert own == {"__init__.py", "about.py", "cli.py", "links.py", "py.typed"}


@pytest.fixture
def without_links(tmp_path: Path) -> Path:
    """A clone as Git makes it where there are no symbolic links: each link is a text file."""
    clone = tmp_path / "clone"
    git = ("git", "-c", "safe.directory=*", "clone", "--quiet", "-c", "core.symlinks=false")
    subprocess.run([*git, str(ROOT), str(clone)], check=True)
    return clone


def run_in(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder / "src")}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_a_checkout_without_links_says_so_in_one_line(without_links: Path) -> None:
    """As it is imported, built or installed; and the remedy that the line names is one."""
    imported = run_in(without_links, sys.executable, "-c", "import twingrad")
    built = run_in(without_links, sys.executable, "-m", "build", "--no-isolation", "--wheel")
    pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation")
    installed = run_in(
        without_links, *pip, "--target", str(without_links / "there"), "--editable", "."
    )
    for done in (imported, built, installed):
        assert done.returncode != 0
        words = [line for line in (done.stdout + done.stderr).splitlines() if "a text file" in line]
        assert len(words) == 1, done
        assert "core must be a link to the folder core" in words[0]
        assert "git config core.symlinks true" in words[0]
    assert not list(without_links.glob("dist/*.whl"))
    run_in(without_links, "git", "config", "core.symlinks", "true")
    run_in(without_links, "git", "checkout", "--", "src/twingrad")
    assert run_in(without_links, sys.executable, "-c", "import twingrad").returncode == 0


def test_the_rooms_are_not_packages_by_themselves() -> None:
    """`import core` from the top of the repository would be a second copy of twingrad.core."""
    for room in ("core", "backends", "models"):
        done = subprocess.run(
            [sys.executable, "-c", f"import {room}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert f"import twingrad.{room}" in done.stderr
