"""What a run was asked for: which layers, dtypes and backends, how many examples, which seed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from twingrad.core.catalogue import LAYERS, OPTIMIZERS
from twingrad.core.errors import SettingError, UnknownNameError
from twingrad.core.operations import OPERATIONS

DTYPES = ("float32", "float64")
# Cases drawn for each law, layer and dtype: while one works, before a change lands, at night.
PROFILES = {"dev": 20, "ci": 40, "nightly": 1000}
FAILURES = Path(".twingrad") / "failures"  # where cases that failed are kept, to be run again


@dataclass(frozen=True)
class Options:
    """The options of a run, the same for `twingrad parity` and for pytest."""

    layers: tuple[str, ...] = ()  # empty: all
    dtypes: tuple[str, ...] = DTYPES
    examples: int = PROFILES["dev"]
    seed: int | None = None
    backend: str = "numpy"
    reference: str = "torch"
    profile: str = "dev"
    calibrating: bool = False  # the worst cases are kept whole

    @property
    def backends(self) -> tuple[str, ...]:
        """The backend under test, then the one it is compared with."""
        return tuple(dict.fromkeys((self.backend, self.reference)))

    def command(self, layer: str, dtype: str) -> str:
        """Return the command that shows the same cases of one layer and dtype again."""
        parts = [f"twingrad parity --layers {layer} --dtype {dtype} --examples {self.examples}"]
        parts += [f"--seed {self.seed}"] if self.seed is not None else []
        parts += [f"--backend {self.backend}"] if self.backend != "numpy" else []
        parts += [f"--reference {self.reference}"] if self.reference != "torch" else []
        return " ".join(parts)


_current = Options()


def options() -> Options:
    """Return the options of this run."""
    return _current


def use(new: Options) -> None:
    """Make `new` the options of this run."""
    global _current
    _current = new


def parse_layers(text: str) -> tuple[str, ...]:
    """Return the names in "a,b"; raise UnknownNameError for one that there is not."""
    known = {**LAYERS, **OPERATIONS, **OPTIMIZERS}
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in known:
            raise UnknownNameError("layer", name, known)
    return names


def parse_dtypes(text: str) -> tuple[str, ...]:
    """Return the dtypes in "float32,float64"; raise SettingError for one that is not judged."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in DTYPES:
            raise SettingError(f"dtype must be one of {list(DTYPES)}; got {name!r}")
    return names or DTYPES


def default_profile() -> str:
    """Return the profile of a run that names none: ci where a CI service says so."""
    return "ci" if os.environ.get("CI", "").lower() not in ("", "0", "false") else "dev"


def parse_profile(name: str) -> str:
    """Return the profile called `name`; raise SettingError if there is none."""
    if name not in PROFILES:
        raise SettingError(f"profile must be one of {list(PROFILES)}; got {name!r}")
    return name
