"""Training: settings in, a fitted model with its figures out, on either backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from twingrad.core.build import build
from twingrad.core.checkpoint import save_checkpoint
from twingrad.core.data import DataLoader
from twingrad.core.layers import BCEWithLogitsLoss
from twingrad.core.metrics import Confusion, confusion
from twingrad.core.optimizers import SGD, AdamW, Optimizer
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
from twingrad.models.mlp.settings import LEARNING_RATES, MlpSettings

MODEL = "mlp"  # what a checkpoint of this model says it is


@dataclass(frozen=True)
class Standardisation:
    """Mean and standard deviation of each feature, taken from the training rows alone."""

    mean: Array
    std: Array

    @classmethod
    def of(cls, x: Array) -> Standardisation:
        """Return those of x (rows, features); a constant feature has a deviation of 1."""
        std = np.where(x.max(axis=0) == x.min(axis=0), 1.0, x.std(axis=0))
        # The squares of tiny numbers underflow, which would leave 0 to divide by.
        return cls(x.mean(axis=0), np.where(std == 0, 1.0, std))

    def __call__(self, x: Array) -> Array:
        return (x - self.mean) / self.std


@dataclass(frozen=True)
class Figures:
    """How a model does on one set of rows."""

    loss: float
    confusion: Confusion


@dataclass
class FittedMlp:
    """A trained model with all that is needed to use and to evaluate it."""

    model: Any
    optimizer: Optimizer
    settings: MlpSettings
    data: LabelledData
    standardisation: Standardisation
    training: Training
    figures: dict[str, Figures] = field(default_factory=dict)  # of "train" and "held-out"

    def probabilities(self, x: Array) -> Array:
        """Return the probability of class 1 for x (rows, features) in the data's own units."""
        ready = self.standardisation(x).astype(self.settings.dtype)
        logits = predict(self.model, ready)[:, 0].astype(np.float64)
        # tanh cannot overflow: sigmoid(z) = (1 + tanh(z / 2)) / 2.
        probabilities: Array = 0.5 * (1 + np.tanh(0.5 * logits))
        return probabilities


def train(
    data: LabelledData,
    settings: MlpSettings,
    *,
    backend: str | None = None,
    device: str | None = None,
    stop_early: bool = True,
    on_batch: Callable[[], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    interrupted: Callable[[], bool] | None = None,
) -> FittedMlp:
    """Fit an MLP to `data`; equal seeds give equal curves on every backend.

    Raises SettingError or BackendError for a model that cannot be built, TrainingError if training
    diverges.
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
    fitted = FittedMlp(model, optimizer, settings, data, standardisation, training)
    for name, (x, target) in (("train", train_rows), ("held-out", held_out_rows)):
        if len(x):
            fitted.figures[name] = Figures(
                whole_set_loss(model, loss_fn, x, target), confusion(predict(model, x), target)
            )
    return fitted


def check(settings: MlpSettings, backend: str, device: str | None = None) -> None:
    """Raise what `train` would raise for settings, backend and device, before data are read."""
    make_optimizer(build(MLP(1, settings.hidden), backend, 0, settings.dtype, device), settings)


def make_optimizer(model: Any, settings: MlpSettings, weight_decay: float = 0.01) -> Optimizer:
    """Return the optimizer that `settings` name; `weight_decay` is AdamW's if they have none."""
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
    settings: MlpSettings | None = None,
    epochs: int = 200,
    seed: int = 0,
    dtype: str = "float64",
) -> list[float]:
    """Return the whole training set's loss after each of `epochs` epochs, on `backend`.

    Without `data` it is that of the points. `settings`, if given, replace the rest.
    With equal arguments, float64 curves of two backends agree to a relative 1e-10.
    """
    settings = settings or MlpSettings(epochs=epochs, seed=seed, dtype=dtype)
    data = data or points(seed=settings.seed)
    fitted = train(data, settings, backend=backend, stop_early=False)
    return [epoch.loss for epoch in fitted.training.epochs]


def save(fitted: FittedMlp, path: Path) -> None:
    """Write the checkpoint: weights, optimizer, and everything that prediction needs.

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
