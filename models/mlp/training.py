"""Training: settings in, a fitted model with its figures out, on either backend."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from twingrad.core.build import build
from twingrad.core.checkpoint import save_checkpoint
from twingrad.core.data import DataLoader
from twingrad.core.errors import SettingError
from twingrad.core.files import whole_file
from twingrad.core.layers import BCEWithLogitsLoss
from twingrad.core.metrics import Confusion, confusion
from twingrad.core.optimizers import SGD, AdamW, Optimizer
from twingrad.core.random import check_seed
from twingrad.core.spec import Array
from twingrad.core.trainer import (
    Epoch,
    Plateau,
    Training,
    fit,
    predict,
    whole_set_loss,
)
from twingrad.models.mlp.datasets import LabelledData, Rows, points
from twingrad.models.mlp.model import MLP

MODEL = "mlp"  # what a checkpoint of this model says it is
LEARNING_RATES = {"adamw": 0.01, "sgd": 0.1}
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Settings:
    """How to train. Raises SettingError for a value out of range.

    `lr` and `weight_decay` of None stand for the default of the optimizer and of the data.
    """

    hidden: tuple[int, ...] = (5, 3)
    epochs: int = 1000
    lr: float | None = None
    batch_size: int = 32
    optimizer: str = "adamw"
    weight_decay: float | None = None
    momentum: float | None = None
    seed: int = 0
    dtype: str = "float32"
    patience: int = 30
    min_delta: float = 1e-3

    def __post_init__(self) -> None:
        _choice("--optimizer", self.optimizer, tuple(LEARNING_RATES))
        _choice("--dtype", self.dtype, DTYPES)
        for name in ("epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                option = name.replace("_", "-")
                raise SettingError(
                    f"--{option} must be an integer >= 1; got {getattr(self, name)!r}"
                )
        if self.momentum is not None and self.optimizer != "sgd":
            raise SettingError(
                f"--momentum belongs to --optimizer sgd; got --optimizer {self.optimizer}"
            )
        check_seed(self.seed)
        Plateau(self.patience, self.min_delta)


@dataclass(frozen=True)
class Standardisation:
    """Mean and standard deviation of each feature, taken from the training rows alone."""

    mean: Array
    std: Array

    @classmethod
    def of(cls, x: Array) -> Standardisation:
        """Return those of x (rows, features); a constant feature has a deviation of 1."""
        std = np.where(x.max(axis=0) == x.min(axis=0), 1.0, x.std(axis=0))
        # Numbers so small that their squares vanish would leave 0 to divide by.
        return cls(x.mean(axis=0), np.where(std == 0, 1.0, std))

    def __call__(self, x: Array) -> Array:
        return (x - self.mean) / self.std


@dataclass(frozen=True)
class Figures:
    """How a model does on one set of rows."""

    loss: float
    confusion: Confusion


@dataclass
class Fitted:
    """A trained model, and all that it takes to use it and to judge it."""

    model: Any
    optimizer: Optimizer
    settings: Settings
    data: LabelledData
    standardisation: Standardisation
    training: Training
    figures: dict[str, Figures] = field(default_factory=dict)  # of "train" and "held-out"

    def probabilities(self, x: Array) -> Array:
        """Return the probability of class 1 for x (rows, features) in the data's own units."""
        ready = self.standardisation(x).astype(self.settings.dtype)
        logits = predict(self.model, ready)[:, 0].astype(np.float64)
        # tanh has no exp to overflow: sigmoid(z) = (1 + tanh(z / 2)) / 2.
        probabilities: Array = 0.5 * (1 + np.tanh(0.5 * logits))
        return probabilities


def train(
    data: LabelledData,
    settings: Settings,
    *,
    backend: str | None = None,
    device: str | None = None,
    stop_early: bool = True,
    on_batch: Callable[[], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    interrupted: Callable[[], bool] | None = None,
) -> Fitted:
    """Fit an MLP to `data`; equal seeds give equal curves on every backend.

    Raises SettingError or BackendError for what cannot be built, TrainingError if it diverges.
    """
    standardisation = Standardisation.of(data.train.x)
    dtype = settings.dtype

    def ready(rows: Rows) -> tuple[Array, Array]:
        x = standardisation(rows.x).astype(dtype)
        return x, rows.target[:, None].astype(dtype)

    train_rows, held_out_rows = ready(data.train), ready(data.held_out)
    recipe = MLP(len(data.feature_names), settings.hidden)
    model = build(recipe, backend, settings.seed, dtype, device)
    optimizer = make_optimizer(model, settings, data.weight_decay)
    loss_fn = BCEWithLogitsLoss(reduction="mean")
    batches = DataLoader(train_rows, settings.batch_size, shuffle=True, seed=settings.seed)

    def evaluate() -> dict[str, float]:
        values = {"loss": whole_set_loss(model, loss_fn, *train_rows)}
        if len(data.held_out):
            values["held_out_loss"] = whole_set_loss(model, loss_fn, *held_out_rows)
        return values

    training = fit(
        model,
        loss_fn,
        optimizer,
        batches,
        epochs=settings.epochs,
        evaluate=evaluate,
        plateau=Plateau(settings.patience, settings.min_delta) if stop_early else None,
        on_batch=on_batch,
        on_epoch=on_epoch,
        interrupted=interrupted,
    )
    fitted = Fitted(model, optimizer, settings, data, standardisation, training)
    for name, (x, target) in (("train", train_rows), ("held-out", held_out_rows)):
        if len(x):
            fitted.figures[name] = Figures(
                whole_set_loss(model, loss_fn, x, target), confusion(predict(model, x), target)
            )
    return fitted


def check(settings: Settings, backend: str, device: str | None = None) -> None:
    """Raise what `train` would for settings, backend and device alone, before data are read."""
    make_optimizer(build(MLP(1, settings.hidden), backend, 0, settings.dtype, device), settings)


def make_optimizer(model: Any, settings: Settings, weight_decay: float = 0.01) -> Optimizer:
    """Return the optimizer that `settings` name; `weight_decay` is AdamW's if they give none."""
    lr = LEARNING_RATES[settings.optimizer] if settings.lr is None else settings.lr
    decay = settings.weight_decay
    if settings.optimizer == "adamw":
        decay = weight_decay if decay is None else decay
        return AdamW(model.parameters(), lr=lr, weight_decay=decay)
    return SGD(
        model.parameters(),
        lr=lr,
        momentum=0.0 if settings.momentum is None else settings.momentum,
        weight_decay=0.0 if decay is None else decay,
    )


def loss_curve(
    backend: str,
    *,
    data: LabelledData | None = None,
    settings: Settings | None = None,
    epochs: int = 200,
    seed: int = 0,
    dtype: str = "float64",
) -> list[float]:
    """Return the whole training set's loss after each of `epochs` epochs, on `backend`.

    Without `data` it is that of the points. `settings`, if given, stand for all that follows.
    With equal arguments, float64 curves of two backends agree to 1e-10 of their values.
    """
    settings = settings or Settings(epochs=epochs, seed=seed, dtype=dtype)
    data = data or points(seed=settings.seed)
    fitted = train(data, settings, backend=backend, stop_early=False)
    return [epoch.loss for epoch in fitted.training.epochs]


def save(fitted: Fitted, path: Path) -> None:
    """Write the checkpoint: weights, optimizer, and all that prediction needs.

    Raises OutputError if it cannot be written.
    """
    data, settings = fitted.data, fitted.settings
    (group,) = fitted.optimizer.param_groups
    extra = {
        "model": MODEL,
        "feature_names": list(data.feature_names),
        "label_names": list(data.label_names),
        "mean": fitted.standardisation.mean.tolist(),
        "std": fitted.standardisation.std.tolist(),
        "settings": asdict(settings) | {"lr": group["lr"], "weight_decay": group["weight_decay"]},
        "data": data.name,
        "stopped": fitted.training.stopped,
        "figures": {
            name: {"loss": figures.loss, **asdict(figures.confusion)}
            for name, figures in fitted.figures.items()
        },
    }
    step = len(fitted.training.epochs)
    save_checkpoint(path, model=fitted.model, optimizer=fitted.optimizer, step=step, extra=extra)


def save_metrics(training: Training, path: Path) -> None:
    """Write a line of JSON for each epoch. Raises OutputError if it cannot be written."""
    with whole_file(path) as file:
        for line in _metric_lines(training):
            file.write(line.encode())


def _metric_lines(training: Training) -> Iterator[str]:
    for epoch in training.epochs:
        # A held-out loss may overflow where the training loss does not; JSON has no word for it.
        values = {
            name: value if np.isfinite(value) else None for name, value in epoch.values.items()
        }
        yield json.dumps({"epoch": epoch.number, **values}) + "\n"


def _choice(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SettingError(f"{option} must be one of {', '.join(known)}; got {value!r}")
