"""A whole model trains along one path on both backends, also if it changes backend on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from twingrad.backends.numpy_backend.kernels import KERNELS
from twingrad.core.errors import SettingError
from twingrad.core.spec import Array
from twingrad.models.mlp.settings import MlpSettings
from twingrad.models.mlp.training import loss_curve
from twingrad.parity_tests.faults.table import well_known
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.runs.trajectory import (
    MODELS,
    TrainingRun,
    compare,
    compare_runs,
    in_words,
)

EPOCHS = 200
NUMPY = {"backend": "numpy", "reference": "torch"}  # under test, and beside it
AGREEMENT = 1e-10  # of the loss, after every epoch: what the project promises for float64


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_loss_curves_agree(name: str, session: Session) -> None:
    settings = MlpSettings(optimizer=name, dtype="float64", epochs=EPOCHS)
    curves = [loss_curve(b, settings=settings, epochs=EPOCHS) for b in session.backends]
    assert all(len(curve) == EPOCHS for curve in curves)
    assert min(curves[0]) < curves[0][0]
    for epoch, losses in enumerate(zip(*curves, strict=True)):
        gap = max(losses) - min(losses)
        assert gap <= AGREEMENT * min(losses), f"{name}: {gap:.3g} apart after epoch {epoch}"


@pytest.mark.parametrize("model", MODELS)
def test_no_step_parts_further_than_roundings_grow(model: str, session: Session) -> None:
    """In no layer's output, no gradient and no weight of any of the steps."""
    compared = compare(model, session.apart(seed=0))
    assert compared.first is None, in_words(compared)
    assert len(compared.gaps) == 200


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("start", [0, 1])
def test_a_run_goes_on_with_the_other_backend(
    model: str, name: str, start: int, session: Session
) -> None:
    """Some steps on one backend, the rest on the other: the path is that of the unbroken run."""
    backends = session.options.backends
    whole, broken, nudged = (TrainingRun(model, backends[start], 3, name) for _ in range(3))
    for _ in range(7):
        for run in (whole, broken, nudged):
            run.step()
    moved = broken.moved_to(backends[1 - start])
    compared = compare_runs(model, whole, moved, nudged, session.apart(), 30)
    assert compared.first is None, in_words(compared)


def test_a_fault_that_sets_in_later_is_found_where_it_sets_in(
    monkeypatch: pytest.MonkeyPatch, session: Session
) -> None:
    """The step, the layer, and the side are named."""
    honest, calls = KERNELS["gelu"], 0

    def backward(grad_y: Array, saved: Any) -> tuple[Array | None, ...]:
        nonlocal calls
        calls += 1
        (grad_x,) = honest.backward(grad_y, saved)
        assert grad_x is not None
        return (grad_x if calls <= 2 * 11 else grad_x * 1.000001,)

    # The run beside it, which shows how roundings grow, is on the same backend: it counts, too.
    monkeypatch.setitem(KERNELS, "gelu", honest._replace(backward=backward))
    first = compare("block", session.apart(**NUMPY, seed=1)).first
    assert first is not None
    assert first.step == 12
    assert first.tensor.startswith("gradient of")
    assert "gelu" in first.verdict
    assert "wrong on numpy, right on torch" in first.verdict


def test_a_faulty_optimizer_is_found_in_its_first_step(session: Session) -> None:
    with well_known("optimizer")["decay ignored"].planted():
        first = compare("mlp", session.apart(**NUMPY, seed=1)).first
    assert first is not None
    assert (first.step, "gradient" in first.tensor) == (1, False)
    assert "the cause is the optimizer" in first.verdict


def test_an_unknown_model_is_refused(session: Session) -> None:
    with pytest.raises(SettingError, match=r"one of \['mlp', 'block'\]; got 'bert'"):
        compare("bert", session.apart())


def test_a_gap_that_is_nan_parts(monkeypatch: pytest.MonkeyPatch, session: Session) -> None:
    honest = KERNELS["tanh"]

    def forward(x: Array) -> tuple[Array, Any]:
        y, saved = honest.forward(x)
        return np.full_like(y, np.nan), saved

    monkeypatch.setitem(KERNELS, "tanh", honest._replace(forward=forward))
    first = compare("mlp", session.apart(backend="torch", reference="numpy", seed=1), steps=2).first
    assert first is not None
    assert first.tensor == "2. tanh"
