"""Do the laws kill a mutant? They are run on cases that were drawn once, with the honest kernels.

A bank holds replays: a law of the suite, and what Hypothesis drew for it. Drawing and the oracle
take all the time, and neither depends on the mutant, so a replay takes a millisecond and is still
the law itself, on the suite's own cases and backends. While it was filled, it was noted which lines
of the kernels each replay runs: only those that run a mutant's line can kill it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from twingrad.parity_tests.judge.record import NoRecord
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.runs.mutants.laws import LAWS, Law, laws_of
from twingrad.parity_tests.runs.mutants.mutant import Mutant, executed, installed, subjects
from twingrad.parity_tests.runs.mutants.oracle import Oracle
from twingrad.parity_tests.runs.mutants.replays import (
    FAILURES,
    Player,
    Replay,
    TookTooLong,
    drawn,
    file_of,
    limited,
    strict,
    trace,
)

# Tried again on who survives, on so many times as many cases.
DEEP = {"forward": 8, "gradient": 8, "trajectory": 2, "rounding": 8}
ERROR, TIMEOUT = "exception", "timeout"
TOO_LONG = 5.0  # seconds of processor time that a replay may take, at least
SLOWER = 50  # times as long as the honest kernels it may take


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
        self.session = Session(record=NoRecord())  # the errors of a mutant are no backend's
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
            with self.oracle.remembered(), installed(mutant):
                found = _first_to_fail(replays)
            if found is not None:
                killer = found
                break
        return Verdict(*killer, time.perf_counter() - started)

    def _relevant(self, mutant: Mutant, thorough: bool) -> Iterator[list[Replay]]:
        """Yield the replays that run the mutant's lines, law by law, and then many more of them."""
        span = range(mutant.lines[0], mutant.lines[1] + 1)
        places = {(str(file_of(mutant.module)), line) for line in span}
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
        with self.oracle.remembered(learning=True), strict():
            runs: list[Callable[[], None]] = [lambda: law.run(self.session)]
            if law.is_drawn:
                runs = [
                    partial(self._run_again, law, values)
                    for values in drawn(law, self.session, examples, seed)
                ]
            replays = []
            for run in runs:
                replay = Replay(law, run)
                try:
                    trace(replay)
                except (Exception, *FAILURES) as error:
                    if replay.lines:  # else it is about something that is no kernel
                        self.broken.setdefault(law.name, str(error))
                else:
                    replays.append(replay)
        return replays

    def _run_again(self, law: Law, values: list[Any]) -> None:
        law.run(self.session, Player(values))


def _first_to_fail(replays: list[Replay]) -> tuple[str, str] | None:
    with strict():
        for replay in replays:
            try:
                with limited(max(TOO_LONG, SLOWER * replay.seconds)):
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
