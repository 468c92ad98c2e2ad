"""How good each backend was in a session: its errors, by layer and tensor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from twingrad.core.spec import Array
from twingrad.parity_tests.judge.case import Case, Walk
from twingrad.parity_tests.runs import replay

# Errors are counted by their power of two: exactly 0, below 2^-5 ulp, below 2^-4, ..., above 2^22.
BINS = 30
FIRST = -5


@dataclass
class TensorErrors:
    """The errors of one tensor of one layer on one backend."""

    cases: int = 0
    elements: int = 0
    ulp: float = 0.0
    ratio: float = 0.0  # the largest share of the derived bound
    bins: list[int] = field(default_factory=lambda: [0] * BINS)
    worst: dict[str, Any] = field(default_factory=dict)
    inputs: Case | Walk | None = None  # the worst case; written out only when the row is


class Record:
    """Collects errors until they are drained into a test's report."""

    def __init__(self) -> None:
        self.errors: dict[tuple[str, str, str, str], TensorErrors] = {}

    def add(
        self,
        key: tuple[str, str, str, str],
        ulp: Array,
        ratio: Array,
        values: tuple[Array, Array],
        indices: Array,
        inputs: Case | Walk,
    ) -> None:
        """Note one tensor's errors, in ulp and as shares of the derived bound.

        `key` is layer, dtype, tensor and backend; `values` are what came and what was expected.
        """
        seen = self.errors.setdefault(key, TensorErrors())
        seen.cases += 1
        seen.elements += ulp.size
        seen.ulp = max(seen.ulp, float(np.max(ulp)))
        at = int(np.argmax(ratio))
        if float(ratio[at]) > seen.ratio:
            seen.ratio, seen.inputs = float(ratio[at]), inputs
            got, expected = (float(side[at]) for side in values)
            index = [int(i) for i in indices[at]]
            seen.worst = {"index": index, "got": got, "expected": expected, "ulp": float(ulp[at])}
        with np.errstate(invalid="ignore", over="ignore"):
            _, exponent = np.frexp(ulp)
        places = np.where(ulp == 0, 0, np.clip(exponent - FIRST + 1, 1, BINS - 1))
        places = np.where(np.isfinite(ulp), places, BINS - 1)
        counts = np.bincount(places, minlength=BINS)
        seen.bins = [old + int(new) for old, new in zip(seen.bins, counts, strict=True)]

    def drain(self, with_cases: bool = False) -> list[dict[str, Any]]:
        """Return the rows so far, as data that JSON can hold, and start anew.

        `with_cases`: each with its worst case, so that this can be read again.
        """
        names = ("layer", "dtype", "what", "backend")
        rows = []
        for key, seen in self.errors.items():
            figures = {"cases": seen.cases, "elements": seen.elements, "bins": seen.bins}
            worst = seen.worst | {"inputs": repr(seen.inputs)} if seen.worst else {}
            row = dict(zip(names, key, strict=True)) | figures
            row |= {"ulp": seen.ulp, "ratio": seen.ratio, "worst": worst}
            if with_cases and seen.inputs is not None:
                row["witness"] = replay.written(seen.inputs)
            rows.append(row)
        self.errors.clear()
        return rows


class NoRecord(Record):
    """Keeps nothing: for kernels that are wrong on purpose."""

    def add(self, *seen: Any) -> None:
        pass
