"""Who is right about one element: three oracles that share no code vote.

A float32 result is judged by the definition's complex step, by torch's autograd and by the
handwritten backward, all three in float64; a float64 result by the definition in longdouble and by
the textbook formula in mpmath, since there the backends themselves are on trial. Two oracles agree
if they are within what rounding in their precision explains; one that stands alone is out-voted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from twingrad.core.errors import TwingradError
from twingrad.core.registry import load_backend
from twingrad.core.spec import Array
from twingrad.parity_tests.judge import oracle, textbook
from twingrad.parity_tests.judge.bounds import derived
from twingrad.parity_tests.judge.case import Case

DEFINITION, MANY_DIGITS = "definition", "mpmath"
NUDGE = 2.0**-20  # relative: how far inputs are moved to see how much a result moves
NUDGES = 4
# An oracle may use up this many times what a kernel may: a complex step rounds more often than the
# formula does, and in its own precision that is still far below what it judges.
LENIENCE = 8.0


@dataclass(frozen=True)
class Vote:
    """What one oracle says, and how many others agree."""

    oracle: str
    value: float
    supporters: int


def votes(case: Case, what: str, index: tuple[int, ...]) -> list[Vote]:
    """Return the votes on one element; the first is the definition's."""
    values, rooms = _values(case, what, index)
    ballot = list(values.items())
    return [
        Vote(
            name,
            float(value),
            sum(
                _agree(value, other, rooms[name] + rooms[another])
                for another, other in ballot
                if another != name
            ),
        )
        for name, value in ballot
    ]


def in_words(case: Case, what: str, index: tuple[int, ...]) -> list[str]:
    """Return the lines of a message that tell how the oracles voted."""
    try:
        cast = votes(case, what, index)
    except TwingradError as error:
        return [f"oracles: could not vote: {error}"]
    lines = ["oracles: " + ", ".join(f"{vote.oracle} {vote.value!r}" for vote in cast)]
    alone = [vote for vote in cast if vote.supporters == 0]
    others_agree = any(vote.supporters for vote in cast)
    if len(cast) == 1:
        lines.append("no vote: there is no other oracle for this case")
    elif cast[0].supporters == 0:
        if others_agree:
            lines.append("the definition is out-voted: the oracle is wrong, not the backend")
        else:
            lines.append("the oracles all differ: the case is beyond what can be judged")
    elif alone:
        names = " and ".join(vote.oracle for vote in alone)
        lines.append(f"{len(cast) - len(alone)} of {len(cast)} agree; out-voted: {names}")
    else:
        lines.append(f"all {len(cast)} agree")
    return lines


def condition(case: Case, what: str, index: tuple[int, ...]) -> float:
    """Return how many times a relative change of the inputs is magnified in one element."""
    rng = np.random.default_rng(0)
    before = _definition(case, what, index)
    largest = 0.0
    for _ in range(NUDGES):
        wide = oracle.precise(case.dtype)
        moved = {
            name: x.astype(wide) * (1 + NUDGE * rng.choice(np.array([-1, 1], wide), x.shape))
            if x.dtype.kind == "f"
            else x
            for name, x in case.inputs.items()
        }
        after = _definition(Case(case.spec, moved, case.settings, case.grad_y), what, index)
        with np.errstate(all="ignore"):
            largest = max(largest, float(np.abs(after - before) / np.abs(before)) / NUDGE)
    return largest


def condition_in_words(case: Case, what: str, index: tuple[int, ...]) -> str:
    """Return the condition number as the end of a line, or nothing where there is none."""
    number = condition(case, what, index)
    return f"; condition number {number:.3g}" if np.isfinite(number) else ""


def _values(
    case: Case, what: str, index: tuple[int, ...]
) -> tuple[dict[str, Any], dict[str, float]]:
    """Return each oracle's value, and how far rounding may take it from the truth."""
    values = {DEFINITION: _definition(case, what, index)}
    if case.dtype == np.float64:
        room = _room(case, what, index) * float(
            np.finfo(oracle.precise(case.dtype)).eps / np.finfo(np.float64).eps
        )
        rooms = {DEFINITION: room}
        if textbook.knows(case):
            values[MANY_DIGITS] = _many_digits(case, what, index)
            rooms[MANY_DIGITS] = 0.0
        return values, rooms
    wide = Case(
        case.spec,
        {n: x.astype(np.float64) if x.dtype.kind == "f" else x for n, x in case.inputs.items()},
        case.settings,
        case.grad_y.astype(np.float64),
    )
    for backend in ("torch", "numpy"):
        values[f"{backend} in float64"] = _computed(wide, backend, what)[index]
    # What float32 cannot hold need not be agreed on: a complex step has no digits left there.
    nothing = float(np.finfo(case.dtype).smallest_subnormal) * 2.0**-10
    return values, dict.fromkeys(values, _room(wide, what, index) + nothing)


def _definition(case: Case, what: str, index: tuple[int, ...]) -> Any:
    if what == "y":
        return oracle.output(case)[index]
    return oracle.gradient_at(case, what.removeprefix("grad_"), np.array([index], int))[0]


def _many_digits(case: Case, what: str, index: tuple[int, ...]) -> Any:
    if what == "y":
        exact = textbook.output_at(case, index)
    else:
        exact = textbook.gradient_at(case, what.removeprefix("grad_"), index)
    high = float(exact)
    return np.longdouble(high) + np.longdouble(float(exact - high))


def _computed(case: Case, backend: str, what: str) -> Array:
    y, grads = load_backend(backend).vjp(
        case.spec, case.inputs, lambda _: case.grad_y, case.settings
    )
    return y if what == "y" else grads[what.removeprefix("grad_")]


def _room(case: Case, what: str, index: tuple[int, ...]) -> float:
    room = derived(case).get(what, 0.0)
    shape = case.grad_y.shape if what == "y" else case.inputs[what.removeprefix("grad_")].shape
    return LENIENCE * float(np.broadcast_to(room, shape)[index])


def _agree(value: Any, other: Any, room: float) -> bool:
    if np.isnan(value) or np.isnan(other):
        return bool(np.isnan(value) and np.isnan(other))
    return bool(value == other or abs(value - other) <= room)
