"""How well a classifier did: exact counts, and ratios that say when there is nothing to count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twingrad.core.errors import ShapeError
from twingrad.core.spec import Array


@dataclass(frozen=True)
class Confusion:
    """The counts of a two-class prediction, and the ratios made of them.

    A ratio with nothing below the line (no positives predicted, say) is NaN, not 1 and not 0.
    """

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int

    @property
    def total(self) -> int:
        return self.true_positive + self.false_positive + self.true_negative + self.false_negative

    @property
    def precision(self) -> float:
        """Of those called positive, the share that is."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """Of those that are positive, the share that was called so."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def accuracy(self) -> float:
        return _ratio(self.true_positive + self.true_negative, self.total)


def confusion(logits: Array, target: Array) -> Confusion:
    """Count predictions (logit > 0) against 0/1 targets of the same shape."""
    if logits.shape != target.shape:
        raise ShapeError(
            f"confusion: logits have shape {logits.shape}, so target must; got {target.shape}"
        )
    said, true = logits > 0, target > 0.5
    return Confusion(
        true_positive=int(np.sum(said & true)),
        false_positive=int(np.sum(said & ~true)),
        true_negative=int(np.sum(~said & ~true)),
        false_negative=int(np.sum(~said & true)),
    )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
