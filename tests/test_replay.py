"""A failing case as a file: what is written is what is read, and it fails again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from twingrad.backends.numpy_backend.kernels import KERNELS
from twingrad.backends.numpy_backend.kernels import OPTIMIZERS as STEPS
from twingrad.core.calls import layer
from twingrad.core.catalogue import LAYERS, OPTIMIZERS
from twingrad.core.errors import DataError
from twingrad.core.operations import OPERATIONS
from twingrad.parity_tests.faults.distortions import distorted_gradient
from twingrad.parity_tests.judge.case import Case, Walk
from twingrad.parity_tests.judge.strategies import cases, walks
from twingrad.parity_tests.runs.replay import load, save


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_case_comes_back_bit_for_bit(data: st.DataObject, tmp_path: Path) -> None:
    name = data.draw(st.sampled_from([*LAYERS, *OPERATIONS]), label="layer")
    dtype = data.draw(st.sampled_from(["float32", "float64"]), label="dtype")
    case = data.draw(cases(layer(name), dtype))
    again = load(save(case, tmp_path, "a test"))
    assert isinstance(again, Case)
    assert again.spec is case.spec
    assert list(again.inputs) == list(case.inputs)
    for key, array in (*case.inputs.items(), ("grad_y", case.grad_y)):
        other = again.grad_y if key == "grad_y" else again.inputs[key]
        assert (other.dtype, other.shape, other.tobytes()) == (
            array.dtype,
            array.shape,
            array.tobytes(),
        )
    assert repr(again.settings) == repr(case.settings)


def test_what_is_not_finite_comes_back(tmp_path: Path) -> None:
    x = np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324])
    again = load(save(Case(layer("tanh"), {"x": x}, {}, x), tmp_path, ""))
    assert isinstance(again, Case)
    assert again.inputs["x"].tobytes() == x.tobytes()


@given(data=st.data())
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_optimizers_walk_comes_back(data: st.DataObject, tmp_path: Path) -> None:
    spec = data.draw(st.sampled_from([*OPTIMIZERS.values()]), label="optimizer")
    walk = data.draw(walks(spec, data.draw(st.sampled_from(["float32", "float64"]))), label="walk")
    assert load(save(walk, tmp_path, "a test")) == walk


def test_an_optimizers_walk_is_run_again(
    twingrad: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = Walk(OPTIMIZERS["sgd"], "float64", OPTIMIZERS["sgd"].defaults(), 3)
    path = save(walk, tmp_path, "a test")
    assert twingrad("parity", "--replay", path).code == 0
    honest = STEPS["sgd"]
    monkeypatch.setitem(
        STEPS,
        "sgd",
        lambda weight, grad, *rest, **named: honest(weight, -grad, *rest, **named),
    )
    again = twingrad("parity", "--replay", path)
    assert again.code == 1
    assert "is wrong on numpy, right on torch" in again.out


def test_a_replayed_fault_fails_and_a_mended_one_does_not(
    twingrad: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(layer("tanh"), {"x": np.linspace(-1, 1, 5)}, {}, np.arange(5.0))
    path = save(case, tmp_path, "a test")
    assert twingrad("parity", "--replay", path).code == 0
    wrong = distorted_gradient(KERNELS["tanh"], 0, lambda grad: grad * 1.001)
    monkeypatch.setitem(KERNELS, "tanh", wrong)
    done = twingrad("parity", "--replay", path)
    assert done.code == 1
    assert "] is wrong on numpy, right on torch" in done.out
    assert "condition number" in done.out
    assert "oracles: definition" in done.out
    assert "all 2 agree" in done.out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("", "is not a replay file"),
        ("{", "is not a replay file"),
        ("[]", "is not a replay file"),
        ('{"kind": "twingrad case", "schema": 2}', "is not a replay file"),
        ('{"kind": "twingrad case", "schema": 1}', "is not a replay file"),
        ("\x00\xff", "is not a replay file"),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_line(
    content: str | None, words: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "case.json"
    if content is not None:
        path.write_text(content, encoding="latin-1")
    assert words in refused(1, "parity", "--replay", path)


def test_an_unknown_layer_in_a_file_is_named(tmp_path: Path) -> None:
    case = Case(layer("tanh"), {"x": np.ones(2)}, {}, np.ones(2))
    path = save(case, tmp_path, "")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"layer": "tahn"}))
    with pytest.raises(Exception, match="unknown layer 'tahn'"):
        load(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"layer": "tanh", "inputs": 3}))
    with pytest.raises(DataError, match="not a replay file"):
        load(path)
