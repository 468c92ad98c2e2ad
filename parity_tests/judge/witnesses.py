"""The witnesses: for each tensor and backend the case on which it was seen to err most.

They stand in the record of their layer (frozen.py), with the error as a share of the derived bound,
the largest under any instruction set that the calibration could choose. On its own witness a
backend may not err RATCHET times as much, however far inside the bound that is: a kernel that gets
worse is caught, and no luck of a draw decides it. `twingrad parity --calibrate` adds a witness for
what has none and lowers what is recorded of a processor; it raises nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from twingrad.core.command_options import from_args
from twingrad.parity_tests.judge.checks import check
from twingrad.parity_tests.judge.constants import rounded_up
from twingrad.parity_tests.judge.frozen import Recorded, Witness, frozen, processor
from twingrad.parity_tests.judge.options import Options
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.runs import replay

NOT_MEASURED = 1.0  # of a new witness: the whole of the derived bound
# The laws whose cases are small enough to be kept.
SMALL = (
    "test_outputs_are_within_their_bound",
    "test_gradients_are_within_their_bound",
    "test_both_backends_follow_the_recurrence",
)


def witnesses(subject: str, dtype: str) -> list[Witness]:
    """Return the witnesses of one layer, operation or optimizer."""
    return [one for one in frozen(subject).witnesses if str(one.case.dtype) == dtype]


def measured(one: Witness, session: Session) -> Recorded:
    """Return the errors now, of the tensors and backends that the witness is about."""
    apart = session.apart()
    check(one.case, apart)
    rows = {(row["what"], row["backend"]): row["ratio"] for row in apart.record.drain()}
    return {
        what: {name: rows[what, name] for name in backends if name in apart.backends}
        for what, backends in one.here.items()
    }


def extended(known: Iterable[Witness], rows: Iterable[Mapping[str, Any]]) -> list[Witness]:
    """Return a layer's witnesses, and the worst case of a run for whatever has none.

    `rows` are those of the layer in a calibrating run's record.
    """
    made = list(known)
    has = {
        (str(one.case.dtype), what, backend)
        for one in made
        for what, backends in one.here.items()
        for backend in backends
    }
    found: dict[str, Witness] = {}
    for row in sorted(rows, key=lambda row: -float(row["ratio"])):
        key = (row["dtype"], row["what"], row["backend"])
        if key in has or row["law"] not in SMALL or "witness" not in row:
            continue
        has.add(key)
        text = json.dumps(row["witness"])
        one = found.setdefault(text, Witness(replay.read(row["witness"]), {processor(): {}}))
        one.recorded[processor()].setdefault(row["what"], {})[row["backend"]] = NOT_MEASURED
    made += found.values()
    return sorted(made, key=lambda one: str(one.case.dtype))


def lowered(known: Iterable[Witness], measured: Iterable[Iterable[Recorded]]) -> list[Witness]:
    """Return the witnesses with the largest error of all measurements, where that is lower.

    What was recorded on this processor is lowered; where nothing was, this is the first record.
    """
    made = []
    for one, *seen in zip(known, *measured, strict=True):
        before = one.recorded.get(processor(), {})
        here = {
            what: before.get(what, {})
            | {
                backend: min(
                    before.get(what, {}).get(backend, NOT_MEASURED),
                    rounded_up(max(other[what][backend] for other in seen)),
                )
                for backend in backends
            }
            for what, backends in next(iter(seen)).items()
        }
        made.append(replace(one, recorded={**one.recorded, processor(): before | here}))
    return made


def main() -> None:
    """Print the errors on the witnesses that come in: for a child process with other kernels."""
    session = Session(from_args(Options, sys.argv[1:]))
    cases = [Witness(replay.read(one["case"]), one["recorded"]) for one in json.load(sys.stdin)]
    json.dump([measured(one, session) for one in cases], sys.stdout)
