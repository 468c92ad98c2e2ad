"""Do the laws kill a mutant? They are run on cases that were drawn once, with the honest kernels.

A bank holds replays: a law of the suite, and what Hypothesis drew for it. Drawing and the oracle
take all the time, and neither depends on the mutant, so a replay takes a millisecond and is still
the law itself, on the suite's own cases and backends. While it was filled, it was noted which lines
of the kernels each replay runs: only those that run a mutant's line can kill it.
"""

from __future__ import annotations

import inspect
import itertools
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import FrameType, ModuleType
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from twingrad.backends.numpy_backend import blocks, set_num_threads
from twingrad.core.catalogue import LAYERS, OPTIMIZERS
from twingrad.core.operations import OPERATIONS
from twingrad.core.spec import LayerSpec, OptimizerSpec
from twingrad.parity_tests.judge import bounds, oracle
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.judge.options import DTYPES
from twingrad.parity_tests.judge.record import RECORD
from twingrad.parity_tests.runs.mutants.kernels import kernel_files
from twingrad.parity_tests.runs.mutants.mutant import Mutant, executed, installed, subjects

SUITE = __name__.rsplit(".", 3)[0]
# The laws, under the names that killers are counted by, quick ones first.
LAWS: dict[str, tuple[str, ...]] = {
    "forward": ("test_forward",),
    "gradient": ("test_gradient", "test_numeric_gradient"),
    "trajectory": ("test_optimizer_trajectory",),
    "special values": (
        "test_stability",
        "test_classes",
        "test_catalogue",
        "test_absence",
        "test_special_points",
    ),
    "structure": ("test_structure", "test_memory"),
    "layouts": ("test_layouts",),
    "exact": ("test_exact",),
    "rounding": ("test_rounding",),
    "properties": ("test_properties",),
    "fairness": ("test_fairness",),
    "every float": ("test_exhaustive",),
    "worst cases": ("test_ratchet",),
    "error": ("test_error_parity",),
    "tape": ("test_tape",),
}
# Tried again on who survives, on so many times as many cases.
DEEP = {"forward": 8, "gradient": 8, "trajectory": 2, "rounding": 8}
SMALL_BLOCK = 256  # elements
ERROR, TIMEOUT = "exception", "timeout"
FAILURES = (AssertionError, pytest.fail.Exception)  # of a law; the second is not an Exception
TOO_LONG = 5.0  # seconds of processor time that a replay may take, at least
SLOWER = 50  # times as long as the honest kernels it may take


@dataclass(frozen=True)
class Law:
    """One test of the suite, with what pytest gives it."""

    name: str
    kind: str
    test: Callable[..., Any]
    given: tuple[tuple[str, Any], ...]


@dataclass
class Replay:
    """One law on one case."""

    law: Law
    run: Callable[[], None]
    lines: frozenset[tuple[str, int]] = frozenset()
    seconds: float = 0.0
    kills: int = 0


@dataclass(frozen=True)
class Verdict:
    """What killed a mutant: a kind of law and its name; "" if nothing did."""

    kind: str
    law: str
    seconds: float

    @property
    def killed(self) -> bool:
        return bool(self.kind)


class Judge:
    """Judges mutants by the laws; keeps the banks that it has filled."""

    def __init__(self, examples: int, seed: int) -> None:
        self.examples, self.seed = examples, seed
        self.oracle = Oracle()
        self.broken: dict[str, str] = {}  # laws that fail without a mutant, and their words
        self._banks: dict[tuple[str, bool], list[Replay]] = {}

    def judge(self, mutant: Mutant, thorough: bool = True) -> Verdict:
        """Return the first law that fails on the mutant; `thorough`: of many more cases, too."""
        started = time.perf_counter()
        try:
            executed(mutant)
        except Exception:
            return Verdict(ERROR, "import", time.perf_counter() - started)
        killer = ("", "")
        for replays in self._relevant(mutant, thorough):
            try:
                with self.oracle.remembered(), installed(mutant):
                    found = _first_to_fail(replays)
            finally:
                RECORD.drain()  # the errors of a mutant are no backend's
            if found is not None:
                killer = found
                break
        return Verdict(*killer, time.perf_counter() - started)

    def _relevant(self, mutant: Mutant, thorough: bool) -> Iterator[list[Replay]]:
        """Yield the replays that run the mutant's lines, law by law, and then many more of them."""
        span = range(mutant.lines[0], mutant.lines[1] + 1)
        places = {(str(_file(mutant.module)), line) for line in span}
        laws = [
            law for kind in LAWS for name in (*subjects(mutant), "") for law in laws_of(kind, name)
        ]
        for deep in (False, True) if thorough else (False,):
            for law in list(laws):
                # A constant of a module is read where it is used, and not on its own line.
                replays = [
                    replay
                    for replay in self.bank(law, deep)
                    if replay.lines & places or (not mutant.function and replay.lines)
                ]
                if replays:
                    yield sorted(replays, key=lambda replay: (-replay.kills, replay.seconds))
                if not replays or law.kind not in DEEP:
                    laws.remove(law)

    def bank(self, law: Law, deep: bool = False) -> list[Replay]:
        """Return the replays of a law; `deep`: of many times as many others."""
        if (law.name, deep) not in self._banks:
            examples = self.examples * (DEEP[law.kind] if deep else 1)
            self._banks[law.name, deep] = self._filled(law, examples, self.seed + deep)
        return self._banks[law.name, deep]

    def _filled(self, law: Law, examples: int, seed: int) -> list[Replay]:
        """Return a replay of each case on which the law holds for the honest kernels."""
        with self.oracle.remembered(learning=True), _strict():
            if not _is_drawn(law.test):
                runs: list[Callable[[], None]] = [lambda: law.test(**dict(law.given))]
            else:
                runs = [_replay_of(law, drawn) for drawn in _drawn(law, examples, seed)]
            replays = []
            for run in runs:
                replay = Replay(law, run)
                try:
                    _trace(replay)
                except (Exception, *FAILURES) as error:
                    if replay.lines:  # else it is about something that is no kernel
                        self.broken.setdefault(law.name, str(error))
                else:
                    replays.append(replay)
        RECORD.drain()
        return replays


def _first_to_fail(replays: list[Replay]) -> tuple[str, str] | None:
    with _strict():
        for replay in replays:
            try:
                with _limited(max(TOO_LONG, SLOWER * replay.seconds)):
                    replay.run()
            except TookTooLong:
                kind = TIMEOUT
            except FAILURES:
                kind = replay.law.kind
            except Exception:
                kind = ERROR
            else:
                continue
            replay.kills += 1
            return kind, replay.law.name
    return None


# The laws of the suite


@cache
def laws_of(kind: str, subject: str) -> tuple[Law, ...]:
    """Return the laws of a kind on a layer, operation or optimizer; "": those on none by name."""
    return tuple(_laws_of(kind, subject))


def _laws_of(kind: str, subject: str) -> Iterator[Law]:
    specs: dict[str, LayerSpec | OptimizerSpec] = {**LAYERS, **OPERATIONS, **OPTIMIZERS}
    for module in _modules(kind):
        for name, test in vars(module).items():
            if not name.startswith("test_") or not callable(test):
                continue
            wanted = set(inspect.signature(test).parameters)
            argument = _spec_argument(wanted, subject)
            if argument is None and (subject or wanted & {"spec", "layer", "optimizer"}):
                continue
            spec = {argument: specs[subject]} if argument else {}
            for given in _parametrized(test, wanted):
                # What needs a fixture of its own plants faults or captures output.
                if wanted <= {*spec, *given, "data"}:
                    values = spec | given
                    shown = ", ".join(map(_shown, values.values()))
                    yield Law(f"{name}[{shown}]", kind, test, tuple(values.items()))


def _modules(kind: str) -> Iterator[ModuleType]:
    for name in LAWS[kind]:
        if find_spec(f"{SUITE}.{name}") is not None:
            yield import_module(f"{SUITE}.{name}")


def _spec_argument(wanted: set[str], subject: str) -> str | None:
    """Return the argument in which a test takes the subject's spec, if it is about such."""
    known: dict[str, Mapping[str, Any]] = {
        "spec": {**LAYERS, **OPERATIONS},
        "layer": LAYERS,
        "optimizer": OPTIMIZERS,
    }
    return next((name for name in known if name in wanted and subject in known[name]), None)


def _parametrized(test: Any, wanted: set[str]) -> Iterator[dict[str, Any]]:
    """Yield the arguments that marks of the test give, and each dtype if it takes one."""
    axes: list[list[dict[str, Any]]] = [
        [
            dict(zip(_names(mark.args[0]), _values(mark.args[0], row), strict=True))
            for row in mark.args[1]
        ]
        for mark in getattr(test, "pytestmark", ())
        if mark.name == "parametrize"
    ]
    given = {name for axis in axes for row in axis[:1] for name in row}
    if "dtype" in wanted - given:
        axes.append([{"dtype": dtype} for dtype in reversed(DTYPES)])
    for rows in itertools.product(*axes):
        yield {name: value for row in rows for name, value in row.items()}


def _names(names: str | tuple[str, ...]) -> list[str]:
    parts = names.split(",") if isinstance(names, str) else names
    return [name.strip() for name in parts]


def _values(names: str | tuple[str, ...], row: Any) -> tuple[Any, ...]:
    row = getattr(row, "values", row) if type(row).__name__ == "ParameterSet" else row
    return tuple(row) if len(_names(names)) > 1 else (row,)


def _shown(value: Any) -> str:
    return str(getattr(value, "name", value))


# What Hypothesis draws


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


def _is_drawn(test: Any) -> bool:
    return hasattr(test, "hypothesis")


def _drawn(law: Law, examples: int, seed: int) -> list[list[Any]]:
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
            _inner(law)(**dict(law.given), data=recorder)
        except hypothesis.errors.UnsatisfiedAssumption:
            raise
        except (Exception, *FAILURES):
            pass  # it fails again when it is replayed, and is told then
        kept.append(recorder.values)

    hold()
    return kept


def _replay_of(law: Law, values: list[Any]) -> Callable[[], None]:
    return lambda: _inner(law)(**dict(law.given), data=Player(values))


def _inner(law: Law) -> Callable[..., None]:
    test: Any = law.test
    inner: Callable[..., None] = test.hypothesis.inner_test
    return inner


def _own(value: Any) -> Any:
    """Return a drawn value with arrays of its own: a law, or a mutant, may write to them."""
    if isinstance(value, Case):
        inputs = {name: array.copy() for name, array in value.inputs.items()}
        return replace(value, inputs=inputs, grad_y=value.grad_y.copy())
    return value.copy() if isinstance(value, np.ndarray) else value


# Which lines a replay runs


def _trace(replay: Replay) -> None:
    """Run the replay with the honest kernels, and note its lines and its time."""
    files = {str(_file(file.module)) for parts in kernel_files().values() for file in parts}
    lines: set[tuple[str, int]] = set()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        file = frame.f_code.co_filename
        if file not in files:
            return None
        lines.add((file, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        replay.run()
    finally:
        sys.settrace(before)
        replay.lines = frozenset(lines)
    if lines:
        started = time.process_time()
        replay.run()
        replay.seconds = time.process_time() - started


def _file(module: str) -> str | None:
    return import_module(module).__file__


# The oracle


class Oracle:
    """What the definitions and the bounds say of a case, computed once for all mutants."""

    functions = (
        *((oracle, name) for name in ("output", "gradients", "gradient_at", "directional")),
        *((bounds, name) for name in ("bounds", "derived") if hasattr(bounds, name)),
    )

    def __init__(self) -> None:
        self.known: dict[Any, Any] = {}

    @contextmanager
    def remembered(self, learning: bool = False) -> Iterator[None]:
        """Let the laws ask this instead of the oracle; with `learning`, note what is new."""
        held = list(self._places())
        for place, name, honest in held:
            setattr(place, name, self._asked(honest, learning))
        try:
            yield
        finally:
            for place, name, honest in held:
                setattr(place, name, honest)

    def _places(self) -> Iterator[tuple[ModuleType, str, Any]]:
        """Yield each name of a module of the suite that stands for a function of the oracle."""
        honest = [(getattr(module, name), name) for module, name in self.functions]
        for module_name, module in list(sys.modules.items()):
            if module_name.startswith(f"{SUITE}."):
                for function, name in honest:
                    if vars(module).get(name) is function:
                        yield module, name, function

    def _asked(self, honest: Callable[..., Any], learning: bool) -> Callable[..., Any]:
        def ask(case: Case, *more: Any) -> Any:
            key = (honest.__name__, _content(case), *map(_content, more))
            if key in self.known:
                return self.known[key]
            answer = honest(case, *more)
            # What is asked with a mutant in place may come from code that it shares.
            if learning:
                self.known[key] = answer
            return answer

        return ask


def _content(value: Any) -> Any:
    """Return what makes two cases, or two arrays, the same."""
    if isinstance(value, Case):
        return (
            value.spec.name,
            repr(value.settings),
            _content(value.inputs),
            _content(value.grad_y),
        )
    if isinstance(value, Mapping):
        return tuple((key, _content(part)) for key, part in value.items())
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.shape, value.tobytes())
    return value


# Around a replay


@contextmanager
def _strict() -> Iterator[None]:
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
def _limited(seconds: float) -> Iterator[None]:
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
