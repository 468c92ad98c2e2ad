"""A whole model trains along one curve on both backends."""

import pytest

from twingrad.models.mlp.training import Settings, loss_curve
from twingrad.parity_tests.options import options

EPOCHS = 200
AGREEMENT = 1e-10  # of the loss, after every epoch: what the project promises for float64


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_loss_curves_agree(name: str) -> None:
    settings = Settings(optimizer=name, dtype="float64", epochs=EPOCHS)
    curves = [loss_curve(b, settings=settings, epochs=EPOCHS) for b in options().backends]
    assert all(len(curve) == EPOCHS for curve in curves)
    assert min(curves[0]) < curves[0][0]
    for epoch, losses in enumerate(zip(*curves, strict=True)):
        gap = max(losses) - min(losses)
        assert gap <= AGREEMENT * min(losses), f"{name}: {gap:.3g} apart after epoch {epoch}"
