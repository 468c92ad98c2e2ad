"""What a run is asked for: which layers, dtypes and backends, how many examples, which seed."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from twingrad.core.catalogue import everything, load_file
from twingrad.core.command_options import check, option, to_args
from twingrad.core.errors import SettingError, UnknownNameError
from twingrad.core.random import check_seed
from twingrad.core.registry import default_backend
from twingrad.core.spec import Choice, Integer

DTYPES = ("float32", "float64")
# Cases drawn for each law, layer and dtype: while one works, before a change lands, at night.
PROFILES = {"dev": 20, "ci": 40, "nightly": 1000}
FLAGS_OF_PYTEST = {"seed": "--hypothesis-seed"}  # Hypothesis's own option sets where it starts
UNSAID = ("profile", "calibrating")  # in a command that shows cases again
FAILURES = Path(".twingrad") / "failures"  # where cases that failed are kept, to be run again


def parse_layers(text: str) -> tuple[str, ...]:
    """Return the parts of "a,./b.py": names of layers, and absolute paths of files with layers.

    Raises UnknownNameError for an unknown name, RegistrationError for a file that
    registers no layer.
    """
    parts = _parts(text)
    files = {part: str(Path(part).resolve()) for part in parts if _is_file(part)}
    for file in files.values():
        load_file(Path(file))
    for part in parts:
        if part not in files and part not in everything():
            raise UnknownNameError("layer", part, everything())
    return tuple(files.get(part, part) for part in parts)


def parse_dtypes(text: str) -> tuple[str, ...]:
    """Return the dtypes in "float32,float64"; raise SettingError for one that is not judged."""
    names = _parts(text)
    for name in names:
        if name not in DTYPES:
            raise SettingError(f"dtype must be one of {list(DTYPES)}; got {name!r}")
    return names or DTYPES


def default_profile() -> str:
    """Return the profile of a run that names none: ci where a CI service says so."""
    return "ci" if os.environ.get("CI", "").lower() not in ("", "0", "false") else "dev"


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _is_file(part: str) -> bool:
    return part.endswith(".py")


@dataclass(frozen=True)
class Options:
    """The options of a run, the same for `twingrad parity`, for pytest and for child processes.

    Raises SettingError for a value out of range.
    """

    layers: tuple[str, ...] = option(
        (),
        "Only these layers, operations or optimizers, or those that a file registers: a,b,./c.py.",
        read=parse_layers,
        write=",".join,
    )
    dtypes: tuple[str, ...] = option(
        DTYPES, "The dtypes to judge.", name="dtype", read=parse_dtypes, write=",".join
    )
    profile: str = option(
        Choice("dev", tuple(PROFILES)),
        "How many cases for each law: "
        + ", ".join(f"{name} {count}" for name, count in PROFILES.items())
        + ".",
        otherwise=lambda _: default_profile(),
        default_in_words="dev, or ci where CI is set",
    )
    examples: int = option(
        Integer(PROFILES["dev"], low=1),
        "Cases for each law, layer and dtype.",
        otherwise=lambda made: PROFILES.get(made["profile"], 1),
        default_in_words="the profile's",
    )
    seed: int | None = option(
        None, "Where the draws start; the same seed, the same cases.", read=check_seed
    )
    backend: str = option(
        "numpy",
        "The backend under test.",
        otherwise=lambda _: default_backend(),
        default_in_words="TWINGRAD_BACKEND, else numpy",
    )
    reference: str = option(
        "torch",
        "The backend that is run beside it.",
        otherwise=lambda made: "numpy" if made["backend"] == "torch" else "torch",
        default_in_words="torch, else numpy",
    )
    calibrating: bool = option(False, "Keep the worst cases whole.", internal=True)

    def __post_init__(self) -> None:
        check(self)

    @property
    def backends(self) -> tuple[str, ...]:
        """The backend under test, then the one it is compared with."""
        return tuple(dict.fromkeys((self.backend, self.reference)))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the layers that were asked for, those of files too; empty: all."""
        return tuple(
            name
            for part in self.layers
            for name in (load_file(Path(part)) if _is_file(part) else [part])
        )

    def wants(self, layer: str) -> bool:
        """Whether the run is about a layer, an operation or an optimizer."""
        return not self.layers or layer in self.names

    def command(self, layer: str = "", dtype: str = "") -> str:
        """Return the command that shows the same cases again, of one layer and dtype or of all."""
        again = replace(
            self,
            layers=(self._source(layer),) if layer else self.layers,
            dtypes=(dtype,) if dtype else self.dtypes,
        )
        said = to_args(again, self._needed("layers", "dtypes", "examples"), UNSAID)
        return shlex.join(["twingrad", "parity", *said])

    def replay_command(self, file: Path, layer: str) -> str:
        """Return the command that runs one case again, which is in a file."""
        source = self._source(layer)
        again = replace(self, layers=(source,) if _is_file(source) else ())
        said = to_args(again, self._needed(), ("dtypes", "examples", "seed", *UNSAID))
        return shlex.join(["twingrad", "parity", "--replay", str(file), *said])

    def _needed(self, *fields: str) -> tuple[str, ...]:
        """Return the fields that a command must say: these, and what a default may not be."""
        return fields if default_backend() == "numpy" else (*fields, "backend", "reference")

    def _source(self, layer: str) -> str:
        """Return what must be asked for to get a layer: its file, or its name."""
        files = (part for part in self.layers if _is_file(part))
        return next((file for file in files if layer in load_file(Path(file))), layer)
