"""The mutation operators: what can be wrong in a line of numeric code, one thing at a time.

An operator looks at one node of the syntax tree and yields what could stand there instead, by
mistake. General tools change comparisons and add 1 to numbers; most of what goes wrong in a
backward pass is in products, transposes, axes, sums and precision, so those have operators here.
"""

from __future__ import annotations

from typing import NamedTuple

from twingrad.parity_tests.runs.mutants.operators.arithmetic import (
    constant,
    eps,
    factor,
    initial,
    integer,
    sign,
    small,
    square,
    term,
    times,
    tiny,
)
from twingrad.parity_tests.runs.mutants.operators.functions import (
    absolute,
    clip,
    compare,
    condition,
    diagonal,
    extremum,
    function,
    shift,
    where,
)
from twingrad.parity_tests.runs.mutants.operators.shapes import (
    axis,
    keepdims,
    matmul,
    mean,
    shape,
    transpose,
)
from twingrad.parity_tests.runs.mutants.operators.tree import Edit, Look, Scope
from twingrad.parity_tests.runs.mutants.operators.wiring import (
    alias,
    argument,
    augmented,
    cancel,
    name,
    returned,
    statement,
    unpacked,
    widen,
)

__all__ = ["FAMILIES", "OPERATORS", "Edit", "Operator", "Scope"]


class Operator(NamedTuple):
    """A way to be wrong, and the family that it is counted with."""

    family: str
    look: Look


# Where two operators write the same text, the first one counts it.
OPERATORS: dict[str, Operator] = {
    "eps": Operator("numbers", eps),
    "sign": Operator("sums", sign),
    "term": Operator("sums", term),
    "factor": Operator("products", factor),
    "times": Operator("products", times),
    "square": Operator("products", square),
    "tiny": Operator("numbers", tiny),
    "small": Operator("numbers", small),
    "constant": Operator("numbers", constant),
    "initial": Operator("numbers", initial),
    "integer": Operator("numbers", integer),
    "matmul": Operator("shapes", matmul),
    "transpose": Operator("shapes", transpose),
    "shape": Operator("shapes", shape),
    "axis": Operator("shapes", axis),
    "keepdims": Operator("shapes", keepdims),
    "mean": Operator("calls", mean),
    "shift": Operator("calls", shift),
    "abs": Operator("calls", absolute),
    "function": Operator("calls", function),
    "extremum": Operator("calls", extremum),
    "clip": Operator("calls", clip),
    "condition": Operator("branches", condition),
    "where": Operator("branches", where),
    "compare": Operator("branches", compare),
    "diagonal": Operator("branches", diagonal),
    "statement": Operator("wiring", statement),
    "augmented": Operator("wiring", augmented),
    "returned": Operator("wiring", returned),
    "argument": Operator("wiring", argument),
    "unpacked": Operator("wiring", unpacked),
    "name": Operator("wiring", name),
    "widen": Operator("precision", widen),
    "cancel": Operator("precision", cancel),
    "alias": Operator("precision", alias),
}
FAMILIES = tuple(dict.fromkeys(operator.family for operator in OPERATORS.values()))
