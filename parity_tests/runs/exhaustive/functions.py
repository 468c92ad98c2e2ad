"""The functions of one variable that are swept whole: those that the pages in laws/ have."""

from __future__ import annotations

from twingrad.core.catalogue import everything
from twingrad.parity_tests.laws.sweeps import Function
from twingrad.parity_tests.laws.table import told


def functions() -> dict[str, Function]:
    """Return the functions of one variable of all layers and operations, by name."""
    return {
        function.name: function for name in everything() for function in told(name, "SWEEPS", ())
    }
