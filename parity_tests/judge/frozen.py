"""What is frozen of each layer, operation and optimizer: a file for each, in `records/`.

`records/<name>.json` holds the constants of its bounds, c for each tensor and dtype; what was
measured on each processor: how, and the largest error of each backend as a share of the derived
bound (`observed`); and its witnesses, the cases on which a backend was seen to err most, with how
much it erred there on each processor. The record of another package's layer lies beside its laws:
a file `<name>.json` in the folder of the page "laws" that was registered with it. Without a file
c is 1, and there are no witnesses.

Processors round in their own ways, so each is held to what was recorded of itself. On one that a
file does not name, the largest of all recorded counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

from twingrad.core.catalogue import everything, is_own
from twingrad.core.environment import cpu_features, cpu_model
from twingrad.core.files import whole_file
from twingrad.parity_tests.judge.case import Case, Walk
from twingrad.parity_tests.laws.table import page_of
from twingrad.parity_tests.runs import replay

SUITE = Path(__file__).parent.parent
RECORDS = SUITE / "records"
SCHEMA = 2

Shares = dict[str, float]  # of a derived bound, by backend
Recorded = dict[str, Shares]  # by tensor


@dataclass(frozen=True)
class Witness:
    """A case, and how the backends that err most on it erred on each processor."""

    case: Case | Walk
    recorded: Mapping[str, Recorded]  # by processor

    @property
    def here(self) -> Recorded:
        """What a backend is held to on this processor."""
        tensors = {what for recorded in self.recorded.values() for what in recorded}
        return {
            what: that_counts({name: one.get(what, {}) for name, one in self.recorded.items()})
            for what in sorted(tensors)
        }


@dataclass(frozen=True)
class Measured:
    """What was seen on one processor."""

    how: dict[str, Any] = field(default_factory=dict)  # versions, seed, numbers of cases
    observed: dict[str, dict[str, Shares]] = field(default_factory=dict)  # by tensor and dtype


@dataclass(frozen=True)
class Frozen:
    """What is frozen of one layer, operation or optimizer."""

    constants: dict[str, dict[str, float]] = field(default_factory=dict)  # by tensor and dtype
    processors: dict[str, Measured] = field(default_factory=dict)
    witnesses: tuple[Witness, ...] = ()

    def observed(self, what: str, dtype: str) -> Shares:
        """Return the largest share of the derived bound that each backend was seen to use."""
        return that_counts(
            {
                name: measured.observed.get(what, {}).get(dtype, {})
                for name, measured in self.processors.items()
            }
        )


def that_counts(by_processor: Mapping[str, Shares]) -> Shares:
    """Return what counts on this processor: what was seen on it, else the largest of all."""
    largest: Shares = {}
    for shares in by_processor.values():
        for backend, share in shares.items():
            largest[backend] = max(largest.get(backend, 0.0), share)
    return largest | by_processor.get(processor(), {})


@cache
def processor() -> str:
    """Return the name of this processor, with the vector units that the libraries use of it."""
    features = cpu_features() or ["baseline"]
    kernels = torch.backends.cpu.get_cpu_capability()
    return f"{cpu_model()}, numpy {features[-1]}, torch {kernels}"


def file_of(name: str) -> Path | None:
    """Return where the record of a layer lies, or would; None where its laws lie in no file."""
    if name not in everything() or is_own(name):
        return RECORDS / f"{name}.json"
    file = getattr(page_of(name), "__file__", None)
    return None if file is None else Path(file).with_name(f"{name}.json")


@cache
def frozen(name: str) -> Frozen:
    """Return what is frozen of a layer, an operation or an optimizer; nothing without a file."""
    file = file_of(name)
    if file is None or not file.exists():
        return Frozen()
    content = json.loads(file.read_text(encoding="utf-8"))
    return Frozen(
        content["constants"],
        {key: Measured(one["how"], one["observed"]) for key, one in content["processors"].items()},
        tuple(Witness(replay.read(one["case"]), one["recorded"]) for one in content["witnesses"]),
    )


def write(content: Frozen, file: Path) -> None:
    """Write what is frozen of a layer, with a line for each tensor and dtype."""
    witnesses = [
        {"recorded": one.recorded, "case": replay.written(one.case)} for one in content.witnesses
    ]
    processors = {
        key: {"how": one.how, "observed": _sorted(one.observed)}
        for key, one in content.processors.items()
    }
    parts = {
        "schema": str(SCHEMA),
        "constants": _spread(_sorted(content.constants), 1),
        "processors": _spread(processors, 4),
        "witnesses": _spread(witnesses, 1),
    }
    text = ",\n".join(f' "{name}": {part}' for name, part in parts.items())
    with whole_file(file) as out:
        out.write(f"{{\n{text}\n}}\n".encode())
    frozen.cache_clear()


def _sorted(by_tensor: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {what: dict(sorted(by_tensor[what].items())) for what in sorted(by_tensor)}


def _spread(value: Any, levels: int, indent: str = "  ") -> str:
    """Return JSON with a line for each entry of the outer levels."""
    if not levels or not isinstance(value, dict | list) or not value:
        return json.dumps(value)
    if isinstance(value, list):
        parts = [_spread(part, levels - 1, f"{indent} ") for part in value]
    else:
        parts = [
            f"{json.dumps(key)}: {_spread(part, levels - 1, f'{indent} ')}"
            for key, part in value.items()
        ]
    lines = ",\n".join(f"{indent}{part}" for part in parts)
    opening, closing = "[]" if isinstance(value, list) else "{}"
    return f"{opening}\n{lines}\n{indent[:-1]}{closing}"
