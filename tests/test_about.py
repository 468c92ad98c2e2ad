"""`twingrad layers` and `twingrad info`: what there is, and on what it runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import twingrad as tg
from twingrad.core import registry


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
