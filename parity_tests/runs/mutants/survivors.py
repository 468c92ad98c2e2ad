"""The mutants that no law can kill, since they compute the same; each with its reason.

They stand in a file for each kernel: in the folder survivors/, and for another package's layer
beside its page of laws, as <layer>.toml. A group has the file, the function ("" for a constant),
a reason, and the mutants: operator, line, mutated line. A line that changes makes its entries
stale, and `twingrad mutants` says so.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from twingrad.core.catalogue import everything, is_own
from twingrad.parity_tests.laws.table import page_of
from twingrad.parity_tests.runs.mutants.mutant import Mutant

FOLDER = Path(__file__).parent / "survivors"
Key = tuple[str, str, str, str, str]  # file, function, operator, original line, mutated line


@cache
def reasons() -> dict[Key, str]:
    """Return why each justified mutant cannot be told from the honest kernel."""
    found: dict[Key, str] = {}
    for file in (*sorted(FOLDER.glob("*.toml")), *_files_of_others()):
        for group in tomllib.loads(file.read_text(encoding="utf-8")).get("equivalent", ()):
            for operator, original, mutated in group["mutants"]:
                key = (group["file"], group["function"], operator, original, mutated)
                if key in found:
                    raise ValueError(f"{file.name}: {key} stands there twice")
                found[key] = group["reason"]
    return found


def _files_of_others() -> Iterable[Path]:
    for name in everything():
        laws = None if is_own(name) else page_of(name)
        source = getattr(laws, "__file__", None)
        if source and (file := Path(source).with_name(f"{name}.toml")).is_file():
            yield file


def stale(mutants: Iterable[Mutant]) -> list[Key]:
    """Return the justifications that belong to none of the mutants."""
    return sorted(reasons().keys() - {mutant.key for mutant in mutants})
