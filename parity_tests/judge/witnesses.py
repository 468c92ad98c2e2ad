"""The witnesses: for each tensor and backend the case on which it was seen to err most.

`witnesses.json` holds them with what was recorded: the error as a share of the derived bound, the
largest under any instruction set that the calibration could choose. On its own witness a backend
may not err RATCHET times as much, however far inside the bound that is: a kernel that gets worse is
caught, and no luck of a draw decides it. `twingrad parity --calibrate` adds a witness for what has
none and lowers what is recorded; it raises nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from twingrad.core.files import whole_file
from twingrad.parity_tests.judge.checks import check
from twingrad.parity_tests.judge.constants import rounded_up
from twingrad.parity_tests.judge.record import RECORD
from twingrad.parity_tests.judge.strategies import Case, Walk
from twingrad.parity_tests.runs import replay

FILE = Path(__file__).parent / "witnesses.json"
SCHEMA = 1
NOT_MEASURED = 1.0  # of a new witness: the whole of the derived bound
# The laws whose cases are small enough to be kept.
SMALL = (
    "test_outputs_are_within_their_bound",
    "test_gradients_are_within_their_bound",
    "test_both_backends_follow_the_recurrence",
)

Recorded = dict[str, dict[str, float]]  # by tensor and backend


@dataclass(frozen=True)
class Witness:
    """A case, and what is recorded of the tensors and backends that err most on it."""

    case: Case | Walk
    recorded: Recorded

    @property
    def subject(self) -> str:
        return self.case.spec.name if isinstance(self.case, Case) else self.case.optimizer.name

    def measured(self) -> Recorded:
        """Return the errors now, of the same tensors and backends."""
        check(self.case)
        rows = {(row["what"], row["backend"]): row["ratio"] for row in RECORD.drain()}
        return {
            what: {backend: rows[what, backend] for backend in backends}
            for what, backends in self.recorded.items()
        }


@cache
def frozen(file: Path = FILE) -> tuple[Witness, ...]:
    """Return all witnesses; none before the first calibration."""
    if not file.exists():
        return ()
    content = json.loads(file.read_text(encoding="utf-8"))
    return tuple(Witness(replay.read(row["case"]), row["recorded"]) for row in content["witnesses"])


def witnesses(subject: str, dtype: str) -> list[Witness]:
    """Return the witnesses of one layer, operation or optimizer."""
    return [one for one in frozen() if one.subject == subject and str(one.case.dtype) == dtype]


def extended(known: Iterable[Witness], rows: Iterable[Mapping[str, Any]]) -> list[Witness]:
    """Return the witnesses, and the worst case of a run for whatever has none.

    `rows` are those of a calibrating run's record.
    """
    made = list(known)
    has = {
        (one.subject, str(one.case.dtype), what, backend)
        for one in made
        for what, backends in one.recorded.items()
        for backend in backends
    }
    found: dict[str, Witness] = {}
    for row in sorted(rows, key=lambda row: -float(row["ratio"])):
        key = (row["layer"], row["dtype"], row["what"], row["backend"])
        if key in has or row["law"] not in SMALL or "witness" not in row:
            continue
        has.add(key)
        text = json.dumps(row["witness"])
        one = found.setdefault(text, Witness(replay.read(row["witness"]), {}))
        one.recorded.setdefault(row["what"], {})[row["backend"]] = NOT_MEASURED
    made += found.values()
    return sorted(made, key=lambda one: (one.subject, str(one.case.dtype)))


def lowered(known: Iterable[Witness], measured: Iterable[Iterable[Recorded]]) -> list[Witness]:
    """Return the witnesses with the largest error of all measurements, where that is lower."""
    made = []
    for one, *seen in zip(known, *measured, strict=True):
        recorded = {
            what: {
                backend: min(share, rounded_up(max(other[what][backend] for other in seen)))
                for backend, share in backends.items()
            }
            for what, backends in one.recorded.items()
        }
        made.append(Witness(one.case, recorded))
    return made


def write(known: Iterable[Witness], file: Path = FILE) -> None:
    """Write the witnesses, a line for each."""
    rows = (
        json.dumps({"recorded": one.recorded, "case": replay.written(one.case)}) for one in known
    )
    text = ",\n".join(rows)
    with whole_file(file) as out:
        out.write(f'{{"schema": {SCHEMA}, "witnesses": [\n{text}\n]}}\n'.encode())
    frozen.cache_clear()


def main() -> None:
    """Print the errors on the witnesses of a file: for a child process with other kernels."""
    json.dump([one.measured() for one in frozen(Path(sys.argv[1]))], sys.stdout)
