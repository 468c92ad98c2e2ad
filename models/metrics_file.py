"""What a training run measured, as a file of JSON lines: one for each epoch or step."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from twingrad.core.files import whole_file
from twingrad.core.trainer import Training

METRICS = "metrics.jsonl"


def write_metrics(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Write all lines of a metrics file, whole or not at all. Raises OutputError."""
    with whole_file(path) as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines).encode())


def read_metrics(path: Path, step: int) -> list[dict[str, Any]]:
    """Return the lines of a metrics file up to a step: those after it were never checkpointed."""
    if not path.is_file():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            break  # a line cut short when the process was killed; nothing after it counts
        if entry["step"] <= step:
            lines.append(entry)
    return lines


def epoch_lines(training: Training) -> list[dict[str, Any]]:
    """Return a line for each epoch of a run of `fit`."""
    # A held-out loss may overflow where the training loss does not; JSON cannot hold it.
    return [
        {"epoch": epoch.number}
        | {name: value if math.isfinite(value) else None for name, value in epoch.values.items()}
        for epoch in training.epochs
    ]
