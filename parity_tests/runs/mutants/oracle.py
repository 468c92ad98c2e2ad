"""What the oracle says of the cases that mutants are judged on: asked once, for all mutants."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from twingrad.parity_tests.judge import bounds, oracle
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.runs.mutants.laws import SUITE


class Oracle:
    """What the definitions and the bounds say of a case, computed once for all mutants."""

    functions = (
        *((oracle, name) for name in ("output", "gradients", "gradient_at", "directional")),
        *((bounds, name) for name in ("bounds", "derived") if hasattr(bounds, name)),
    )

    def __init__(self) -> None:
        self.known: dict[Any, Any] = {}

    @contextmanager
    def remembered(self, learning: bool = False) -> Iterator[None]:
        """Let the laws ask this instead of the oracle; with `learning`, note what is new."""
        held = list(self._places())
        for place, name, honest in held:
            setattr(place, name, self._asked(honest, learning))
        try:
            yield
        finally:
            for place, name, honest in held:
                setattr(place, name, honest)

    def _places(self) -> Iterator[tuple[ModuleType, str, Any]]:
        """Yield each name of a module of the suite that stands for a function of the oracle."""
        honest = [(getattr(module, name), name) for module, name in self.functions]
        for module_name, module in list(sys.modules.items()):
            if module_name.startswith(f"{SUITE}."):
                for function, name in honest:
                    if vars(module).get(name) is function:
                        yield module, name, function

    def _asked(self, honest: Callable[..., Any], learning: bool) -> Callable[..., Any]:
        def ask(case: Case, *more: Any) -> Any:
            key = (honest.__name__, _content(case), *map(_content, more))
            if key in self.known:
                return self.known[key]
            answer = honest(case, *more)
            # What is asked with a mutant in place may come from code that it shares.
            if learning:
                self.known[key] = answer
            return answer

        return ask


def _content(value: Any) -> Any:
    """Return what makes two cases, or two arrays, the same."""
    if isinstance(value, Case):
        return (
            value.spec.name,
            repr(value.settings),
            _content(value.inputs),
            _content(value.grad_y),
        )
    if isinstance(value, Mapping):
        return tuple((key, _content(part)) for key, part in value.items())
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.shape, value.tobytes())
    return value
