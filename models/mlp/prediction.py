"""Prediction: a checkpoint and a CSV file in, a probability and a label for each row out."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twingrad.core.build import build
from twingrad.core.calls import forward
from twingrad.core.checkpoint import load_checkpoint
from twingrad.core.errors import CheckpointError, DataError, SettingError
from twingrad.core.spec import Array
from twingrad.core.trainer import predict
from twingrad.models.mlp.model import MLP
from twingrad.models.mlp.settings import DTYPES
from twingrad.models.mlp.training import MODEL, Standardisation
from twingrad.models.tables import Table, some

CHECKPOINT = "model.safetensors"


@dataclass(frozen=True)
class Predictor:
    """A trained model, as a checkpoint holds it."""

    model: Any
    backend: str
    dtype: str
    feature_names: tuple[str, ...]
    label_names: tuple[str, str]
    standardisation: Standardisation

    def probabilities(self, x: Array) -> Array:
        """Return the probability of class 1 for x (rows, features) in the data's own units."""
        logits = predict(self.model, self.standardisation(x).astype(self.dtype))[:, 0]
        return forward("sigmoid", {"x": logits}, backend=self.backend)


def load_predictor(path: Path, backend: str, device: str | None = None) -> Predictor:
    """Return the model in a checkpoint, or in a folder that `train mlp` wrote, on `backend`.

    Raises CheckpointError for a file that is missing, damaged or another model's.
    """
    file = path / CHECKPOINT if path.is_dir() or not path.suffix else path
    extra = load_checkpoint(file).extra
    if extra.get("model") != MODEL:
        raise CheckpointError(f"{file}: it is the checkpoint of another model, not of an {MODEL}")
    try:
        settings = extra["settings"]
        features = tuple(map(str, extra["feature_names"]))
        zero, one = map(str, extra["label_names"])
        mean, std = (np.array(extra[name], dtype=np.float64) for name in ("mean", "std"))
        dtype = settings["dtype"]
        if not mean.shape == std.shape == (len(features),) or dtype not in DTYPES:
            raise ValueError("its parts do not fit together")
        recipe = MLP(len(features), settings["hidden"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{file}: it does not describe an {MODEL}: {_reason(error)}"
        ) from None
    model = build(recipe, backend, 0, dtype, device)
    load_checkpoint(file, model=model)
    model.eval()
    return Predictor(model, backend, dtype, features, (zero, one), Standardisation(mean, std))


def choose_columns(predictor: Predictor, table: Table) -> tuple[Array, list[str]]:
    """Return the model's features from a table (rows, features), and the columns not used.

    Raises DataError if a column is missing or holds something other than finite numbers.
    """
    missing = [name for name in predictor.feature_names if name not in table.columns]
    if missing:
        raise DataError(
            f"{table.path}: the model needs columns that are missing: {some(missing)}; "
            f"the columns are {some(table.columns)}"
        )
    unused = [name for name in table.columns if name not in predictor.feature_names]
    return table.numbers(predictor.feature_names), unused


def as_csv(predictor: Predictor, probabilities: Array) -> str:
    """Return the predictions as CSV text: row (from 1), probability of class 1, label."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "probability", "prediction"])
    for row, probability in enumerate(probabilities, start=1):
        # The class is decided as in training: probability above 1/2, that is logit above 0.
        label = predictor.label_names[int(probability > 0.5)]
        writer.writerow([row, str(probability), label])
    return text.getvalue()


def _reason(error: Exception) -> str:
    if isinstance(error, SettingError):
        return str(error)
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
