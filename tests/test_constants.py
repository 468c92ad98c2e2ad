"""The frozen constants: complete, never raised by a command, and a ratchet on each backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twingrad.backends.numpy_backend.kernels import KERNELS
from twingrad.core.catalogue import LAYERS, OPTIMIZERS
from twingrad.core.operations import OPERATIONS
from twingrad.parity_tests.judge import constants, witnesses
from twingrad.parity_tests.judge.bounds import bounds, derived
from twingrad.parity_tests.judge.case import Case, Walk
from twingrad.parity_tests.judge.checks import Disagreement, check_gradient
from twingrad.parity_tests.runs import replay

DTYPES = ("float32", "float64")


def rows(ratio: float, backend: str = "numpy") -> list[dict[str, Any]]:
    """Return what a calibration would have measured of one tensor."""
    entry = {"layer": "tanh", "what": "y", "dtype": "float32", "backend": backend}
    return [entry | {"ratio": ratio}]


def test_every_tensor_of_every_layer_has_its_constant() -> None:
    frozen = constants.frozen()["rows"]
    for name, spec in (LAYERS | OPERATIONS).items():
        for what in ("y", *(f"grad_{key}" for key in spec.differentiable)):
            for dtype in DTYPES:
                row = frozen[name][what][dtype]
                assert 0 < row["c"] <= 1
                assert row["observed"].keys() == {"numpy", "torch"}
                assert max(row["observed"].values()) <= row["c"]
    for name in OPTIMIZERS:
        assert frozen[name]["weight"].keys() == set(DTYPES)


def test_a_bound_is_its_constants_share_of_what_rounding_explains() -> None:
    case = Case(LAYERS["tanh"], {"x": np.linspace(-2, 2, 5)}, {}, np.ones(5))
    c = constants.constant("tanh", "grad_x", "float64")
    np.testing.assert_allclose(bounds(case)["grad_x"], c * derived(case)["grad_x"], rtol=1e-15)


def test_a_calibration_adds_constants_but_changes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {"tanh": {"y": {"float32": {"c": 0.4, "observed": {"numpy": 0.1}}}}}
    monkeypatch.setattr(constants, "frozen", lambda: {"rows": before})
    for ratio, observed, complaints in ((0.05, 0.1, 0), (0.2, 0.2, 0), (0.3, 0.3, 1)):
        after, raised = constants.calibrated(rows(ratio))
        assert after["tanh"]["y"]["float32"] == {"c": 0.4, "observed": {"numpy": observed}}
        assert len(raised) == complaints
    other, _ = constants.calibrated(rows(0.03, backend="torch"))
    assert other["tanh"]["y"]["float32"]["observed"] == {"numpy": 0.1, "torch": 0.03}
    monkeypatch.setattr(constants, "frozen", lambda: {"rows": {}})
    new, _ = constants.calibrated(rows(0.05))
    assert new["tanh"]["y"]["float32"] == {"c": 0.2, "observed": {"numpy": 0.05}}


def test_what_is_written_is_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "constants.json"
    constants.write(constants.frozen()["rows"], {"examples": 3}, file)
    expected = constants.frozen()["rows"]
    monkeypatch.setattr(constants, "FILE", file)
    constants.frozen.cache_clear()
    try:
        assert constants.frozen()["rows"] == expected
        assert constants.frozen()["measured"] == {"examples": 3}
    finally:
        monkeypatch.undo()
        constants.frozen.cache_clear()


def test_a_kernel_that_gets_worse_is_caught_inside_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error that no bound forbids, but that is more than 1.5 times the recorded one."""
    honest = KERNELS["tanh"]
    c = constants.constant("tanh", "grad_x", "float32")
    recorded = c / 2
    x = np.full(3, 3.0, np.float32)  # where the gradient is small beside what the bound is made of
    case = Case(LAYERS["tanh"], {"x": x}, {}, np.ones(3, np.float32))
    error = (0.8 * c * derived(case)["grad_x"]).astype(np.float32)

    def backward(grad_y: Any, saved: Any) -> tuple[Any, ...]:
        (grad_x,) = honest.backward(grad_y, saved)
        assert grad_x is not None
        return (grad_x + error,)

    check_gradient(case, {"grad_x": {"numpy": recorded}})
    monkeypatch.setitem(KERNELS, "tanh", honest._replace(backward=backward))
    with pytest.raises(Disagreement, match="less accurate than recorded on numpy") as caught:
        check_gradient(case, {"grad_x": {"numpy": recorded}})
    assert caught.value.finding.wrong == []
    assert caught.value.finding.worse == ["numpy"]


def test_every_layer_and_optimizer_that_rounds_has_its_witnesses() -> None:
    rounding = {
        name
        for name, tensors in constants.frozen()["rows"].items()
        for row in tensors.values()
        if any(max(row[dtype]["observed"].values()) for dtype in DTYPES)
    }
    assert {one.subject for one in witnesses.frozen()} == rounding


def test_witnesses_come_back_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "witnesses.json"
    witnesses.write(witnesses.frozen(), file)
    assert file.read_bytes() == witnesses.FILE.read_bytes()


def test_a_calibration_adds_witnesses_and_lowers_what_they_recorded() -> None:
    def row(case: Case | Walk, ratio: float, **key: str) -> dict[str, Any]:
        law = "test_outputs_are_within_their_bound"
        entry = {"layer": "tanh", "what": "y", "dtype": "float64", "law": law, "ratio": ratio}
        return entry | {"witness": replay.written(case)} | key

    cases = [Case(LAYERS["tanh"], {"x": np.full(1, x)}, {}, np.ones(1)) for x in (1.0, 2.0, 3.0)]
    rows = [row(cases[0], 0.1, backend="numpy"), row(cases[1], 0.2, backend="numpy")]
    rows += [row(cases[1], 0.2, backend="torch")]
    (found,) = witnesses.extended([], rows)
    assert found.recorded == {"y": {"numpy": 1.0, "torch": 1.0}}
    assert repr(found.case) == repr(cases[1])
    (found,) = witnesses.lowered([found], [[{"y": {"numpy": 0.2, "torch": 0.1}}]] * 2)
    assert found.recorded == {"y": {"numpy": 0.2, "torch": 0.1}}
    assert witnesses.extended([found], [row(cases[2], 0.3, backend="torch")]) == [found]
    assert witnesses.lowered([found], [[{"y": {"numpy": 0.9, "torch": 0.01}}]]) == [
        witnesses.Witness(found.case, {"y": {"numpy": 0.2, "torch": 0.01}})
    ]
