"""The constants of the bounds: how much of its derived bound each tensor may use.

c scales the derived bound of bounds.py; it is at most 1, since the derivation is a guarantee. It
stands in the record of its layer (frozen.py). `twingrad parity --calibrate` gives a c to what has
none and changes no other; that is done by hand, by someone who knows why: one that is taken out is
measured anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

from twingrad.parity_tests.judge.frozen import Frozen, Measured, Shares, frozen, processor

MARGIN = 4.0  # of c over the largest error observed
LEAST = 1 / 64  # of c: below it the bound would be less than one rounding of the result


def constant(layer: str, what: str, dtype: str) -> float:
    """Return c, the share of its derived bound that a tensor may use; 1 if never measured."""
    return float(frozen(layer).constants.get(what, {}).get(dtype, 1.0))


def recorded(layer: str, what: str, dtype: str, backend: str) -> float | None:
    """Return the largest share of the derived bound that a backend was seen to use."""
    return frozen(layer).observed(what, dtype).get(backend)


def calibrated(
    before: Frozen, rows: Iterable[Mapping[str, Any]], how: Mapping[str, Any]
) -> tuple[Frozen, list[str]]:
    """Return what to freeze of a layer after a calibration, and each c that lost half its margin.

    `rows` are those of the layer in a run's record, `how` says how they were measured. A frozen c
    stays; only a person may raise it.
    """
    seen: dict[tuple[str, str], Shares] = {}
    cases = 0
    for row in rows:
        shares = seen.setdefault((row["what"], row["dtype"]), {})
        shares[row["backend"]] = max(shares.get(row["backend"], 0.0), row["ratio"])
        cases += row["cases"]
    here = processor()
    known = replace(
        before, constants=deepcopy(before.constants), processors=deepcopy(before.processors)
    )
    old = known.processors.get(here, Measured())
    how = old.how | dict(how) | {"cases": old.how.get("cases", 0) + cases}
    known.processors[here] = Measured(how, old.observed)
    raised = []
    for (what, dtype), shares in sorted(seen.items()):
        observed = old.observed.setdefault(what, {}).setdefault(dtype, {})
        for backend, ratio in shares.items():
            observed[backend] = max(rounded_up(ratio), observed.get(backend, 0.0))
        everywhere = [
            share
            for one in known.processors.values()
            for share in one.observed.get(what, {}).get(dtype, {}).values()
        ]
        most = max(everywhere)
        constants = known.constants.setdefault(what, {})
        c = constants.setdefault(dtype, rounded_up(min(max(MARGIN * most, LEAST), 1.0)))
        if c < 1 and most > 2 / MARGIN * c:
            raised.append(f"{what} {dtype}: c is {c}, and {most} was measured")
    return known, raised


def rounded_up(value: float) -> float:
    """Return the next number of two digits that is not below."""
    if value == 0:
        return 0.0
    scale = 10.0 ** (1 - math.floor(math.log10(value)))
    return math.ceil(value * scale - 1e-9) / scale
