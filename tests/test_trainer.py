"""The training loop, its data and its figures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import twingrad as tg
from twingrad.core.errors import DataError, SettingError
from twingrad.core.metrics import Confusion, confusion
from twingrad.core.trainer import Plateau, Training, fit, whole_set_loss


def fitted(backend: str, losses: list[float] | None = None, **more: Any) -> tuple[Any, Training]:
    """Train a small network on 60 points; `losses`, if given, stand for the whole set's."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((60, 2))
    target = (x[:, :1] > x[:, 1:]).astype(float)
    model = tg.build(
        tg.Sequential(tg.Linear(2, 4), tg.Tanh(), tg.Linear(4, 1)), backend, 5, "float64"
    )
    loss_fn = tg.BCEWithLogitsLoss()
    given = iter(losses or ())

    def evaluate() -> dict[str, float]:
        return {"loss": next(given, None) or whole_set_loss(model, loss_fn, x, target)}

    batches = tg.DataLoader((x, target), batch_size=16, shuffle=True, seed=1)
    optimizer = tg.AdamW(model.parameters(), lr=0.05)
    arguments: dict[str, Any] = {"epochs": 8, "evaluate": evaluate} | more
    return model, fit(model, loss_fn, optimizer, batches, **arguments)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_the_loss_of_the_whole_set_falls(backend: str) -> None:
    _, training = fitted(backend)
    losses = [epoch.loss for epoch in training.epochs]
    assert [epoch.number for epoch in training.epochs] == list(range(1, 9))
    assert losses[-1] < losses[0]
    assert training.stopped == "epochs"


def test_the_same_seed_trains_the_same_model() -> None:
    first, second = (fitted("numpy")[0].state_dict() for _ in range(2))
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


def test_training_stops_on_the_whole_sets_loss_with_patience() -> None:
    """Not on a minibatch's: what `evaluate` says is all that counts."""
    losses = [0.9, 0.5, 0.5, 0.4999, 0.51, 0.3, 0.2]
    _, training = fitted("numpy", losses, plateau=Plateau(3, 1e-3))
    assert [epoch.loss for epoch in training.epochs] == losses[:5]
    assert training.stopped == "patience"


def test_a_plateau_forgives_a_bad_epoch() -> None:
    plateau = Plateau(2)
    assert [plateau.stops_at(loss) for loss in (1.0, 2.0, 0.5, 0.6, 0.7)] == [
        False,
        False,
        False,
        False,
        True,
    ]


def test_an_interrupted_epoch_is_undone() -> None:
    asked = iter([False] * 6 + [True] * 100)
    model, training = fitted("numpy", interrupted=lambda: next(asked))
    whole, _ = fitted("numpy", epochs=1)
    assert training.stopped == "interrupted"
    assert len(training.epochs) == 1
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, whole.state_dict()[name])


def test_training_on_nothing_is_an_error() -> None:
    model = tg.build(tg.Linear(2, 1))
    batches = tg.DataLoader((np.zeros((0, 2), "float32"), np.zeros((0, 1), "float32")))
    with pytest.raises(DataError, match="no batches"):
        fit(
            model,
            tg.BCEWithLogitsLoss(),
            tg.SGD(model.parameters()),
            batches,
            epochs=1,
            evaluate=lambda: {"loss": 0.0},
        )


@pytest.mark.parametrize(("patience", "min_delta"), [(0, 0.1), (1, -0.1), (1, 1.0)])
def test_a_plateau_refuses_what_makes_no_sense(patience: int, min_delta: float) -> None:
    with pytest.raises(SettingError):
        Plateau(patience, min_delta)


def test_a_loop_that_was_left_does_not_shorten_the_next() -> None:
    loader = tg.DataLoader((np.arange(5.0),), batch_size=2)
    for _ in loader:
        break
    assert [batch.tolist() for (batch,) in loader] == [[0, 1], [2, 3], [4]]
    assert len(loader) == 3


def test_a_data_set_has_any_number_of_fields_or_none_at_all() -> None:
    items = [(np.full(2, n), n, -n) for n in range(3)]
    ((x, y, z),) = tg.DataLoader(items, batch_size=3)
    assert x.shape == (3, 2)
    assert y.tolist() == [0, 1, 2]
    assert z.tolist() == [0, -1, -2]
    assert list(tg.DataLoader([], batch_size=2)) == []


def test_every_epoch_has_an_order_of_its_own_that_depends_on_the_seed() -> None:
    def orders(seed: int) -> list[list[int]]:
        loader = tg.DataLoader((np.arange(50),), batch_size=50, shuffle=True, seed=seed)
        return [next(iter(loader))[0].tolist() for _ in range(2)]

    assert orders(1) == orders(1)
    assert orders(1) != orders(2)
    assert orders(1)[0] != orders(1)[1]
    assert sorted(orders(1)[0]) == list(range(50))


def test_a_short_last_batch_is_kept_or_dropped() -> None:
    kept = tg.DataLoader((np.arange(5),), batch_size=2)
    dropped = tg.DataLoader((np.arange(5),), batch_size=2, drop_last=True)
    assert [len(batch) for (batch,) in kept] == [2, 2, 1]
    assert [len(batch) for (batch,) in dropped] == [2, 2]


@pytest.mark.parametrize("size", [0, -1, 1.5, True])
def test_a_batch_size_below_one_is_refused(size: Any) -> None:
    with pytest.raises(SettingError, match="batch_size must be an integer >= 1"):
        tg.DataLoader((np.arange(5),), batch_size=size)


def test_false_positives_and_false_negatives_are_the_right_way_round() -> None:
    """Three false alarms, one miss: precision suffers from the alarms, recall from the miss."""
    logits = np.array([1.0, 1, 1, 1, 1, -1, -1])
    target = np.array([1.0, 1, 0, 0, 0, 1, 0])
    counts = confusion(logits, target)
    assert counts == Confusion(true_positive=2, false_positive=3, true_negative=1, false_negative=1)
    assert counts.precision == 2 / 5
    assert counts.recall == 2 / 3
    assert counts.accuracy == 3 / 7


def test_ratios_are_exact_and_nothing_over_nothing_is_nan() -> None:
    assert Confusion(79, 5, 86, 5).precision == 79 / 84
    none = Confusion(0, 0, 4, 0)
    assert math.isnan(none.precision)
    assert math.isnan(none.recall)
    assert none.accuracy == 1
