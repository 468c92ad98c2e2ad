"""Learning rates over a run: a warm-up to the highest, and a way down from there."""

from __future__ import annotations

import math
from dataclasses import dataclass

from twingrad.core.errors import SettingError

KINDS = ("linear", "cosine", "noam", "constant")


@dataclass(frozen=True)
class Schedule:
    """The learning rate of each step: from 0 up to `lr` at step `warmup`, then down.

    `linear` and `cosine` reach 0 one step after the last; `noam` falls with the root of the step
    (Vaswani et al. 2017, section 5.3), whatever their number. A warm-up below 1 is a share of the
    steps. Raises SettingError.
    """

    kind: str
    lr: float
    steps: int
    warmup: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SettingError(f"must be one of {', '.join(KINDS)}; got {self.kind!r}", "kind")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise SettingError(f"must be a number > 0; got {self.lr!r}", "lr")
        if self.steps < 1:
            raise SettingError(f"must be an integer >= 1; got {self.steps!r}", "steps")
        if not (math.isfinite(self.warmup) and self.warmup >= 0):
            raise SettingError(f"must be a number >= 0; got {self.warmup!r}", "warmup")

    @property
    def warmup_steps(self) -> int:
        """How many steps the warm-up takes; it ends before the run does."""
        steps = round(self.warmup * self.steps) if self.warmup < 1 else round(self.warmup)
        return min(steps, self.steps)

    def __call__(self, step: int) -> float:
        """Return the learning rate of a step, counted from 1."""
        warmup = self.warmup_steps
        if step <= warmup:
            return self.lr * step / warmup
        if self.kind == "noam":
            return self.lr * math.sqrt(max(warmup, 1) / step)
        done = min((step - warmup) / (self.steps - warmup + 1), 1.0)
        if self.kind == "linear":
            return self.lr * (1 - done)
        if self.kind == "cosine":
            return self.lr * (1 + math.cos(math.pi * done)) / 2
        return self.lr
