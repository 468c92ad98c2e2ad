"""A law on one case that was drawn once: it is run again as often as there are mutants."""

from __future__ import annotations

import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from types import FrameType
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from twingrad.backends.numpy_backend import blocks, set_num_threads
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.runs.mutants.kernels import kernel_files
from twingrad.parity_tests.runs.mutants.laws import Law

FAILURES = (AssertionError, pytest.fail.Exception)  # of a law; the second is not an Exception
SMALL_BLOCK = 256  # elements


@dataclass
class Replay:
    """One law on one case."""

    law: Law
    run: Callable[[], None]
    lines: frozenset[tuple[str, int]] = frozenset()
    seconds: float = 0.0
    kills: int = 0


class Recorder:
    """Stands for the data of a test that Hypothesis runs, and keeps what is drawn."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.values: list[Any] = []

    def draw(self, strategy: st.SearchStrategy[Any], label: Any = None) -> Any:
        value = self.data.draw(strategy, label)
        self.values.append(_own(value))
        return value


class Player:
    """Stands for the data of a test, and gives what was drawn before."""

    def __init__(self, values: list[Any]) -> None:
        self.values = iter(values)

    def draw(self, strategy: st.SearchStrategy[Any], label: Any = None) -> Any:
        return _own(next(self.values))


def drawn(law: Law, session: Session, examples: int, seed: int) -> list[list[Any]]:
    """Return what Hypothesis draws for some examples of a law."""
    kept: list[list[Any]] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        phases=[hypothesis.Phase.generate],
        database=None,
        deadline=None,
        derandomize=False,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.data())
    def hold(data: st.DataObject) -> None:
        recorder = Recorder(data)
        try:
            law.run(session, recorder)
        except hypothesis.errors.UnsatisfiedAssumption:
            raise
        except (Exception, *FAILURES):
            pass  # it fails again when it is replayed, and is told then
        kept.append(recorder.values)

    hold()
    return kept


def _own(value: Any) -> Any:
    """Return a drawn value with arrays of its own: a law, or a mutant, may write to them."""
    if isinstance(value, Case):
        inputs = {name: array.copy() for name, array in value.inputs.items()}
        return replace(value, inputs=inputs, grad_y=value.grad_y.copy())
    return value.copy() if isinstance(value, np.ndarray) else value


def trace(replay: Replay) -> None:
    """Run the replay with the honest kernels, and note its lines and its time."""
    files = {str(file_of(file.module)) for parts in kernel_files().values() for file in parts}
    lines: set[tuple[str, int]] = set()

    def note(frame: FrameType, event: str, argument: Any) -> Any:
        file = frame.f_code.co_filename
        if file not in files:
            return None
        lines.add((file, frame.f_lineno))
        return note

    before = sys.gettrace()
    sys.settrace(note)
    try:
        replay.run()
    finally:
        sys.settrace(before)
        replay.lines = frozenset(lines)
    if lines:
        started = time.process_time()
        replay.run()
        replay.seconds = time.process_time() - started


def file_of(module: str) -> str | None:
    return import_module(module).__file__


@contextmanager
def strict() -> Iterator[None]:
    """Warnings are errors, as they are for pytest; kernels run in small blocks, on one thread.

    Drawn arrays are small too, and a trace sees no other thread.
    """
    elements = blocks.ELEMENTS
    set_num_threads(1)
    blocks.ELEMENTS = SMALL_BLOCK
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        blocks.ELEMENTS = elements
        set_num_threads(None)


class TookTooLong(BaseException):
    """A mutant does not come to an end."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TookTooLong after so much processor time, which other programs do not use up."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
