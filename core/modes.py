"""Evaluation: a model out of training mode and off the tape, and afterwards as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twingrad.core.registry import no_grad


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Leave training mode and record no gradients inside this context, on any backend.

    At its end every module of `model` gets its own mode back, also after an error.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
