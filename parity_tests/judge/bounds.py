"""How far a backend may be from the definition: u times a running magnitude, for every tensor.

The bound of an element is u * W + tiny, where u is the dtype's unit roundoff and W sums up, over
the operations that lead to the element, the size of each intermediate result times the number of
roundings it carries: the same expression as the layer's, on absolute values, computed in the
judging precision. It is what a sound implementation in the dtype can guarantee, and it grows with
the condition of the problem, not with the number of elements that were looked at. What libraries
really need of it is measured, and frozen as a constant c for each tensor: see constants.py.

Each layer's page has its W as `bound`, counted on the formula with the numbers of roundings.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.core.spec import Array
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.judge.constants import constant
from twingrad.parity_tests.judge.oracle import precise
from twingrad.parity_tests.laws.roundings import EXACT
from twingrad.parity_tests.laws.table import required, told


def bounds(case: Case) -> dict[str, Array]:
    """Return the largest error allowed in each element of y and of each gradient."""
    name, dtype = case.spec.name, case.dtype
    return {
        what: scaled(constant(name, what, str(dtype)), room, dtype)
        for what, room in derived(case).items()
    }


def scaled(share: float, room: Any, dtype: np.dtype[Any]) -> Array:
    """Return a share of a derived bound, but at least what a flush to 0 costs where it is not 0."""
    least = 4 * float(np.finfo(dtype).smallest_normal)
    return np.where(np.asarray(room) == 0, 0, np.maximum(share * room, least))


def derived(case: Case) -> dict[str, Array]:
    """Return the error in each element of y and of each gradient that rounding can explain."""
    info = np.finfo(case.dtype)
    wide = {
        name: x.astype(precise(case.dtype)) if x.dtype.kind == "f" else x
        for name, x in case.inputs.items()
    }
    grad_y = np.abs(case.grad_y.astype(precise(case.dtype)))
    with np.errstate(all="ignore"):
        weights = required(case.spec.name, "bound")(grad_y, **wide, **case.settings)
    unit = np.finfo(precise(case.dtype)).dtype.type(info.eps) / 2
    return {name: unit * weight + _underflow(case, weight) for name, weight in weights.items()}


def _underflow(case: Case, weight: Any) -> float:
    # Vector units may flush what is below the smallest normal number to 0, in every term.
    if np.isscalar(weight) and weight == EXACT:
        return 0.0
    terms = max(x.size for x in case.inputs.values()) + case.grad_y.size + 1
    gain = told(case.spec.name, "gain", lambda **inputs: 1.0)(**case.inputs)
    return float(np.finfo(case.dtype).smallest_normal) * terms * float(gain)
