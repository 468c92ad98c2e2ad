"""The training loop: epochs of batches, judged by the loss of the whole set, ended cleanly."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np

from twingrad.core.errors import DataError, SettingError, ShapeError, TwingradError
from twingrad.core.modes import evaluating
from twingrad.core.spec import Array
from twingrad.core.state import to_numpy

ROWS_AT_ONCE = 8192  # of a whole set when its loss is taken, so that memory stays bounded


class TrainingError(TwingradError, ArithmeticError):
    """Training cannot go on: its loss is no longer a finite number."""


@dataclass(frozen=True)
class Epoch:
    """One pass over the data: its number (from 1), and what `evaluate` said after it."""

    number: int
    values: Mapping[str, float]

    @property
    def loss(self) -> float:
        return self.values["loss"]


@dataclass
class Training:
    """What a run of `fit` did: its finished epochs, and why it ended."""

    epochs: list[Epoch] = field(default_factory=list)
    stopped: str = "epochs"  # or "patience", or "interrupted"


class Plateau:
    """Says when a loss has stopped falling.

    A loss is better if it is below the best so far by more than `min_delta` of it; after
    `patience` losses in a row that are not, it has stopped. Raises SettingError.
    """

    def __init__(self, patience: int, min_delta: float = 1e-3) -> None:
        self.patience = _count("patience", patience)
        if not 0 <= min_delta < 1:
            raise SettingError(f"must be a number in [0, 1); got {min_delta!r}", "min_delta")
        self.min_delta = min_delta
        self.best = math.inf
        self.waited = 0

    def stops_at(self, loss: float) -> bool:
        """Take the next loss; return whether it has stopped falling."""
        # inf - x > min_delta * inf would never hold, so the first loss is better by rule.
        if self.best == math.inf or self.best - loss > self.min_delta * abs(self.best):
            self.best, self.waited = loss, 0
        else:
            self.waited += 1
        return self.waited >= self.patience


def fit(
    model: Any,
    loss_fn: Any,
    optimizer: Any,
    batches: Iterable[tuple[Any, ...]],
    *,
    epochs: int,
    evaluate: Callable[[], Mapping[str, float]],
    plateau: Plateau | None = None,
    before_step: Callable[[], None] | None = None,
    on_batch: Callable[[], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    interrupted: Callable[[], bool] | None = None,
) -> Training:
    """Train for at most `epochs` epochs; each batch is the model's inputs and then the target.

    After each epoch `evaluate` returns at least "loss", that of the whole set: it alone is what
    `plateau` sees, for the loss of one batch says little. `before_step` is called with all
    gradients there, to clip them or to set the learning rate. Once `interrupted` returns True,
    model and optimizer go back to where the last whole epoch left them, and training ends. Raises
    TrainingError if the loss is not finite, DataError if there are no batches.
    """
    training = Training()
    for number in range(1, _count("epochs", epochs) + 1):
        before = _snapshot(model, optimizer) if interrupted else None
        model.train()
        count = 0
        for *inputs, target in batches:
            loss = loss_fn(model(*inputs), target)
            optimizer.zero_grad()
            loss.backward()
            if before_step:
                before_step()
            optimizer.step()
            count += 1
            if on_batch:
                on_batch()
            if interrupted and interrupted():
                _restore(model, optimizer, before)
                training.stopped = "interrupted"
                return training
        if count == 0:
            raise DataError("fit: there are no batches to train on; the data set is empty")
        epoch = Epoch(number, dict(evaluate()))
        if not math.isfinite(epoch.loss):
            raise TrainingError(
                f"training diverged: the loss is {epoch.loss} after epoch {number}; "
                f"lower the learning rate"
            )
        training.epochs.append(epoch)
        if on_epoch:
            on_epoch(epoch)
        if plateau and plateau.stops_at(epoch.loss):
            training.stopped = "patience"
            break
    return training


def predict(model: Any, *inputs: Array) -> Array:
    """Return the model's outputs for whole arrays, out of training mode and off the tape."""
    outputs = []
    with evaluating(model):
        for start in range(0, max(len(inputs[0]), 1), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            outputs.append(to_numpy(model(*(array[rows] for array in inputs))))
    return np.concatenate(outputs)


def whole_set_loss(model: Any, loss_fn: Any, *arrays: Array) -> float:
    """Return the mean loss over all rows of a set; the last of `arrays` is the target.

    `loss_fn` must be a mean over rows. Raises DataError for an empty set, ShapeError if the
    arrays' lengths differ.
    """
    rows = len(arrays[-1])
    if rows == 0:
        raise DataError("whole_set_loss: the set is empty, so it has no mean loss")
    if any(len(array) != rows for array in arrays):
        raise ShapeError(
            f"whole_set_loss: arrays must have one length; got {[len(array) for array in arrays]}"
        )
    total = 0.0
    with evaluating(model):
        for start in range(0, rows, ROWS_AT_ONCE):
            *inputs, target = (array[start : start + ROWS_AT_ONCE] for array in arrays)
            total += float(loss_fn(model(*inputs), target)) * len(target)
    return total / rows


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Note the first Ctrl-C inside this context instead of raising it; a second one is raised.

    Yields a function that says whether there was one. Outside the main thread, where signals do
    not arrive, or where Ctrl-C is ignored, nothing changes.
    """
    before = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or before in (signal.SIG_IGN, None):
        yield lambda: False
        return
    pressed = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            signal.default_int_handler(number, frame)
        pressed = True

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _snapshot(model: Any, optimizer: Any) -> tuple[dict[str, Array], Any, dict[str, int]]:
    parameters = {name: to_numpy(value) for name, value in model.state_dict().items()}
    return parameters, optimizer.state_dict(), _draws(model)


def _restore(model: Any, optimizer: Any, snapshot: Any) -> None:
    parameters, state, draws = snapshot
    model.load_state_dict(parameters)
    optimizer.load_state_dict(state)
    for name, module in model.named_modules():
        if name in draws:
            module.draws.count = draws[name]


def _draws(model: Any) -> dict[str, int]:
    return {
        name: module.draws.count
        for name, module in model.named_modules()
        if getattr(module, "draws", None) is not None
    }


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise SettingError(f"must be an integer >= 1; got {value!r}", name)
    return int(value)
