"""What all pictures of training runs share: colours, axes, and writing the file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from twingrad.core import packages
from twingrad.core.files import whole_file

# Okabe and Ito's palette, which colour-blind readers can tell apart.
BLUE, VERMILION, GREEN, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#000000", "#5f5f5f"
DOTS_PER_INCH = 160


def missing() -> str | None:
    """Return why no picture can be drawn, or None if one can."""
    return packages.missing("matplotlib", "plot")


def figure(width: float, height: float) -> tuple[Any, Any]:
    """Return a figure of this size in inches, and its axes.

    Raises MissingPackageError if matplotlib is not installed.
    """
    packages.require("matplotlib", "plot")
    from matplotlib.figure import Figure

    # No pyplot: its windows and its list of open figures are not for a command line.
    made = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    axes = made.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return made, axes


def grid(axes: Any) -> None:
    """Draw horizontal lines behind what is in the axes."""
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)


def write(made: Any, path: Path) -> None:
    """Write a figure as PNG. Raises OutputError if the file cannot be written."""
    with whole_file(path) as file, warnings.catch_warnings():
        # A name with characters that the font lacks must not stop the picture.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        made.savefig(file, format="png")
