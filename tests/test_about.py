"""`twingrad layers` and `twingrad info`: what there is, and on what it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import twingrad as tg
from twingrad.about import facts_of
from twingrad.core import registry
from twingrad.core.catalogue import everything

RMS = """
from types import SimpleNamespace

import numpy as np

from twingrad.core.catalogue import register_layer
from twingrad.core.spec import LayerSpec


def rms(x):
    return x / np.sqrt((x * x).mean(-1, keepdims=True))


def spec(name, definition):
    return LayerSpec(name=name, formula="y = x / rms(x)", inputs={"x": "... d"}, output="... d",
                     source="Zhang and Sennrich 2019", definition=definition)


register_layer(spec("rms_norm", rms), {"numpy": "rms.by_hand"})
nameless = eval("lambda x: x")
register_layer(spec("rms_object", nameless), {"torch": SimpleNamespace(eps=0, forward=rms)})
"""


def test_every_layer_and_optimizer_is_listed(twingrad: Callable[..., Any]) -> None:
    done = twingrad("layers")
    assert done.code == 0
    for name in (*tg.layers(), *tg.optimizers()):
        assert name in done.out
    assert "x @ weight.T + bias" in done.out


def test_every_operation_is_listed_when_asked_for(twingrad: Callable[..., Any]) -> None:
    done = twingrad("layers", "--operations")
    for name in tg.operations():
        assert name in done.out


@pytest.mark.parametrize("name", ["gelu", "attention", "matmul", "adamw"])
def test_one_spec_is_shown_in_full(name: str, twingrad: Callable[..., Any]) -> None:
    done = twingrad("layers", name)
    assert done.code == 0
    assert "source:" in done.out
    assert "def " in done.out
    assert "backends/numpy_backend/" in done.out


@pytest.mark.parametrize("name", [*tg.layers(), *tg.operations(), *tg.optimizers()])
def test_every_path_that_is_printed_exists(name: str) -> None:
    package = Path(tg.__file__).parent
    facts = facts_of(everything()[name])
    assert (package / facts["definition_file"]).is_file()
    kind = "layers" if name in tg.layers() else "optimizers"
    own_page = "core/operations.py" if name in tg.operations() else f"core/{kind}/{name}.py"
    assert facts["definition_file"] == own_page
    page = "operations" if name in tg.operations() else name
    assert facts["backends"] == {
        backend: f"backends/{backend}_backend/{page}.py" for backend in ("numpy", "torch")
    }
    for file in facts["backends"].values():
        assert (package / file).is_file()


def test_another_packages_layers_are_shown_with_their_own_files(tmp_path: Path) -> None:
    """What an entry point registers is found, and no page is imported for its path."""
    package, facts = tmp_path / "rms", tmp_path / "rms-1.0.dist-info"
    package.mkdir()
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: rms\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[twingrad.layers]\nrms_norm = rms\n")
    (package / "__init__.py").write_text(RMS, encoding="utf-8")
    (package / "by_hand.py").write_text("raise ImportError('too early')\n")
    program = (
        "import sys\n"
        "from twingrad.cli import main\n"
        "for arguments in (['rms_norm'], ['rms_object', '--json'], []):\n"
        "    sys.argv = ['twingrad', 'layers', *arguments]\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as stop:\n"
        "        assert not stop.code, stop.code\n"
        "    print('----')\n"
        "assert 'torch' not in sys.modules\n"
    )
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    in_full, data, listing, _ = done.stdout.split("----\n")
    assert f"definition, in {package / '__init__.py'}:" in in_full
    assert f"  numpy: {package / 'by_hand.py'}" in in_full
    assert "  torch: no page" in in_full
    found = json.loads(data)
    assert found["backends"] == {"numpy": None, "torch": str(package / "__init__.py")}
    assert found["definition"] == ""  # it stands in no file
    assert "rms_norm" in listing


def test_the_listing_is_data_too(twingrad: Callable[..., Any]) -> None:
    text = twingrad("layers", "--json").out
    for name in tg.layers():
        assert name in text
    json.loads(text)


@pytest.mark.parametrize("columns", [80, 100, 140])
def test_the_listing_fits_the_terminal(
    columns: int, twingrad: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    done = twingrad("layers")
    assert max(map(len, done.out.splitlines())) <= columns
    assert "…" not in done.out
    assert "\x1b" not in done.out


def test_an_unknown_layer_is_one_line(refused: Callable[..., str]) -> None:
    assert "optimizer 'gleu'" in refused(2, "layers", "gleu")


def test_info_names_versions_and_backends(twingrad: Callable[..., Any]) -> None:
    done = twingrad("info")
    assert done.code == 0
    for words in (
        "twingrad: ",
        "python: ",
        "numpy: ",
        "torch: ",
        "blas",
        "backend numpy: available",
    ):
        assert words in done.out
    assert json.loads(twingrad("info", "--json").out)


def test_info_says_why_a_backend_is_missing(
    twingrad: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    done = twingrad("info")
    assert "backend torch: torch is not installed" in done.out
    assert "pip install 'twingrad[torch]'" in done.out


def test_the_version_is_the_packages(twingrad: Callable[..., Any]) -> None:
    assert twingrad("--version").out.strip() == f"twingrad {tg.__version__}"


def test_help_is_there_for_every_command(twingrad: Callable[..., Any]) -> None:
    done = twingrad("--help")
    assert done.code == 0
    for command in ("parity", "bench", "train", "predict", "layers", "info"):
        assert command in done.out
        assert twingrad(command, "--help").code == 0
