"""One run of the laws: what it was asked for, and how the backends fared. It is passed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from twingrad.core.contract import Backend
from twingrad.core.registry import load_backend
from twingrad.parity_tests.judge.options import Options
from twingrad.parity_tests.judge.record import Record


@dataclass(frozen=True)
class Session:
    """The options of a run and its record; the laws take it as an argument."""

    options: Options = field(default_factory=Options)
    record: Record = field(default_factory=Record)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        # Hypothesis prints all arguments of a law that fails.
        printer.text(f"<{self.options.command()}>")

    @property
    def backends(self) -> Mapping[str, Backend]:
        """The backend under test and the one beside it, by name, in this order."""
        return {name: load_backend(name) for name in self.options.backends}

    def apart(self, **changes: Any) -> Session:
        """Return a session with a record of its own, and these options changed.

        What is judged in it, such as a planted fault, leaves no trace in this one's record.
        """
        return Session(replace(self.options, **changes))
