"""Rows held out of training: the same share of every class."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from twingrad.core.errors import DataError, SettingError
from twingrad.core.random import generator
from twingrad.core.spec import Array, Number

HELD_OUT = Number(0.2, low=0.0, high=1.0, below=True)  # share of the rows


def split_classes(classes: Array, held_out: float, seed: int) -> tuple[Array, Array]:
    """Return the indices of the rows to train on and of those held out, the same share per class.

    Shape: classes (rows), of any values. The same seed gives the same split; every class keeps a
    row to train on. Raises SettingError for a share outside [0, 1), DataError if there are too few
    rows to hold any out.
    """
    share = checked_share(held_out)
    rng = generator(seed, "split")
    parts: tuple[list[Array], list[Array]] = ([], [])
    for value in np.unique(classes):
        members = rng.permutation(np.flatnonzero(classes == value))
        count = min(round(share * len(members)), max(len(members) - 1, 0))
        parts[1].append(members[:count])
        parts[0].append(members[count:])
    train, held = (np.sort(np.concatenate(part)) for part in parts)
    if share > 0 and len(held) == 0:
        raise DataError(
            f"{len(classes)} rows are too few to hold out {held_out:g} of them; "
            f"give more rows, or hold out none"
        )
    return train, held


def checked_share(held_out: float) -> Fraction:
    """Return the held-out share as a fraction; raise SettingError unless it is in [0, 1)."""
    if not HELD_OUT.accepts(held_out):
        raise SettingError(f"must be {HELD_OUT.valid}; got {held_out!r}", "held_out")
    return Fraction(str(held_out))
