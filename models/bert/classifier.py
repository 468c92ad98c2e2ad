"""Fine-tuning: a pretrained encoder learns to classify texts (Devlin et al. 2019)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twingrad.core.calls import forward
from twingrad.core.data import DataLoader
from twingrad.core.errors import DataError
from twingrad.core.layers import CrossEntropyLoss
from twingrad.core.optimizers import AdamW
from twingrad.core.optimizers.optimizer import clip_grad_norm_
from twingrad.core.schedule import Schedule
from twingrad.core.spec import Array
from twingrad.core.state import to_numpy
from twingrad.core.trainer import Epoch, Training, fit
from twingrad.models.bert.pretraining import parameter_groups
from twingrad.models.bert.settings import FineTuningSettings
from twingrad.models.bert.texts import (
    Padded,
    Text,
    checked_length,
    encode,
    in_batches,
    pad,
)
from twingrad.models.bert.tokenizer import Tokenizer
from twingrad.models.bert.weights import Weights
from twingrad.models.splits import split_classes
from twingrad.models.tables import read_table, some

MAX_LENGTH = 128  # tokens of a text, if the settings have none
MOST_CLASSES = 1000
WARM_UP = 0.1  # share of the steps in which the learning rate rises
MAX_NORM = 1.0  # of all gradients together
WEIGHT_DECAY = 0.01


@dataclass(frozen=True, eq=False)
class LabelledTexts:
    """Texts, or pairs of them, and the class of each: an index into `labels`."""

    texts: list[str]
    seconds: list[str] | None
    classes: Array  # (texts), int64
    labels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class FittedClassifier:
    """A fine-tuned model; accuracy and majority share are NaN if nothing was held out."""

    model: Any
    training: Training
    rows: tuple[int, int]  # trained on, held out
    accuracy: float
    majority: float  # held-out accuracy of always predicting the commonest class


def read_labelled_texts(path: Path, text: str, label: str, second: str | None) -> LabelledTexts:
    """Read texts and labels from columns of a CSV file with a header.

    Raises DataError for a file that cannot be used.
    """
    table = read_table(path)
    for what, column in (("texts", text), ("second texts", second), ("labels", label)):
        if column is not None and column not in table.columns:
            raise DataError(
                f"{path}: there is no column {column!r} to take the {what} from; the columns are "
                f"{some(table.columns)}"
            )
    cells = table.column(label)
    if "" in cells:
        raise DataError(
            f"{path}: line {table.lines[cells.index('')]}, column {label!r}: a label must be a "
            f"word or a number; it is empty"
        )
    labels = tuple(sorted(set(cells)))
    if not 2 <= len(labels) <= MOST_CLASSES:
        raise DataError(
            f"{path}: label column {label!r} must have 2 to {MOST_CLASSES} distinct values; it has "
            f"{len(labels)} ({some(labels)})"
        )
    classes = np.searchsorted(np.array(labels, dtype=object), np.array(cells, dtype=object))
    seconds = None if second is None else table.column(second)
    return LabelledTexts(table.column(text), seconds, classes, labels)


def fine_tune(
    weights: Weights,
    tokenizer: Tokenizer,
    data: LabelledTexts,
    settings: FineTuningSettings,
    *,
    backend: str | None = None,
    device: str | None = None,
    on_batch: Callable[[], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    interrupted: Callable[[], bool] | None = None,
) -> FittedClassifier:
    """Train an encoder and a new classifier on `data`, and measure it on rows held out of them.

    The learning rate rises in the first tenth of the steps and then falls to 0, both linearly.
    Raises SettingError or CheckpointError for settings or weights that do not fit, TrainingError if
    training diverges.
    """
    length = checked_length(settings.max_length, weights.config)
    if settings.max_length is None:
        length = min(length, MAX_LENGTH)
    model = weights.new_classifier(len(data.labels), settings.seed, backend, device)
    rows = split_classes(data.classes, settings.held_out, settings.seed)
    encoded = encode(tokenizer, data.texts, data.seconds, length)
    train, held_out = ([encoded[row] for row in part] for part in rows)
    train_classes, held_out_classes = (data.classes[part] for part in rows)

    batches = _Batches(train, train_classes, tokenizer.pad_id, settings)
    optimizer = AdamW(parameter_groups(model, WEIGHT_DECAY), lr=settings.lr)
    rates = Schedule("linear", settings.lr, settings.epochs * len(batches), WARM_UP)
    taken = 0
    losses: list[float] = []

    def before_step() -> None:
        nonlocal taken
        clip_grad_norm_(model.parameters(), MAX_NORM)
        taken += 1
        for group in optimizer.param_groups:
            group["lr"] = rates(taken)

    def loss_fn(logits: Any, classes: Array) -> Any:
        loss = CrossEntropyLoss()(logits, classes)
        losses.append(loss.item())
        return loss

    def held_out_logits() -> Array:
        return class_logits(model, held_out, tokenizer.pad_id, settings.batch_size)

    def evaluate() -> dict[str, float]:
        # The mean over the batches during training: a second pass would cost a third of the first.
        values = {"loss": float(np.mean(losses))}
        losses.clear()
        if held_out:
            logits = held_out_logits()
            values["held_out_loss"] = _mean_loss(logits, held_out_classes)
            values["held_out_accuracy"] = _accuracy(logits, held_out_classes)
        return values

    training = fit(
        model,
        loss_fn,
        optimizer,
        batches,
        epochs=settings.epochs,
        evaluate=evaluate,
        before_step=before_step,
        on_batch=on_batch,
        on_epoch=on_epoch,
        interrupted=interrupted,
    )
    model.eval()
    accuracy = majority = float("nan")
    if held_out and training.epochs:
        accuracy = training.epochs[-1].values["held_out_accuracy"]
        commonest = Counter(train_classes.tolist()).most_common(1)[0][0]
        majority = float(np.mean(held_out_classes == commonest))
    return FittedClassifier(model, training, (len(train), len(held_out)), accuracy, majority)


def class_logits(model: Any, texts: Sequence[Text], pad_id: int, batch_size: int) -> Array:
    """Return a BertForClassification's logits (texts, classes)."""
    return in_batches(model, lambda batch: to_numpy(model(*batch)), texts, pad_id, batch_size)


def class_probabilities(logits: Array) -> Array:
    """Return the probability of each class, float64, of logits (texts, classes)."""
    return forward("softmax", {"x": logits.astype(np.float64)}, backend="numpy")


class _Batches:
    """Batches in a new order each epoch, each padded to its own longest text."""

    def __init__(
        self, texts: list[Text], classes: Array, pad_id: int, settings: FineTuningSettings
    ) -> None:
        self.texts, self.classes, self.pad_id = texts, classes, pad_id
        rows = (np.arange(len(texts)),)
        self.loader = DataLoader(rows, settings.batch_size, shuffle=True, seed=settings.seed)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        for (rows,) in self.loader:
            padded: Padded = pad([self.texts[row] for row in rows], self.pad_id)
            yield (*padded, self.classes[rows])


def _mean_loss(logits: Array, classes: Array) -> float:
    inputs = {"x": logits.astype(np.float64), "target": classes}
    return float(forward("cross_entropy", inputs, backend="numpy"))


def _accuracy(logits: Array, classes: Array) -> float:
    return float(np.mean(logits.argmax(axis=1) == classes))
