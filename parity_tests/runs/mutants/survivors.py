"""The mutants that no law can kill, since they compute the same; each with its reason."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from twingrad.parity_tests.runs.mutants.kernels import Mutant

FILE = Path(__file__).parent / "survivors.toml"
Key = tuple[str, str, str, str, str]  # file, function, operator, original line, mutated line


@cache
def reasons() -> dict[Key, str]:
    """Return why each justified mutant cannot be told from the honest kernel."""
    found: dict[Key, str] = {}
    for group in tomllib.loads(FILE.read_text(encoding="utf-8")).get("equivalent", ()):
        for operator, original, mutated in group["mutants"]:
            key = (group["file"], group["function"], operator, original, mutated)
            if key in found:
                raise ValueError(f"{FILE.name}: {key} stands there twice")
            found[key] = group["reason"]
    return found


def stale(mutants: Iterable[Mutant]) -> list[Key]:
    """Return the justifications that belong to none of the mutants."""
    return sorted(reasons().keys() - {mutant.key for mutant in mutants})
