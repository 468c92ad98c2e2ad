"""A dataclass's fields as the options of a command: each has its name, help and default once.

The same fields make the options that a command takes, the arguments that a child process is given,
and the object itself, from what somebody typed.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import typer

KEY = "command option"  # of a field's metadata
TYPED = (str, int, float, bool, Path)  # what a command line can read by itself; else it is text

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Spelling:
    """How a field of a dataclass is said on a command line."""

    help: str
    name: str = ""  # without dashes; empty: the field's own
    read: Callable[[Any], Any] | None = None  # makes the field's value of what was typed
    write: Callable[[Any], str] = str  # makes what is typed of the field's value
    # The value where none was given, from those of the fields before it; else the field's default.
    otherwise: Callable[[Mapping[str, Any]], Any] | None = None
    default_in_words: str = ""  # for the help, where the default depends on something
    internal: bool = False  # said to child processes, and no option of a command


def option(default: Any, help: str, **spelling: Any) -> Any:
    """Return a dataclass's field that is an option as well; for the rest see Spelling."""
    return field(default=default, metadata={KEY: Spelling(help, **spelling)})


@dataclass(frozen=True)
class CommandOption:
    """A field that is an option: how it is said, and what is typed for it."""

    field: str
    flag: str
    type: type[Any]
    default: Any
    spelling: Spelling

    def written(self, value: Any) -> str:
        """Return a value of the field as it is typed; empty for one that needs no word."""
        return "" if value is None else self.spelling.write(value)


@functools.cache
def options_of(cls: type[Any]) -> tuple[CommandOption, ...]:
    """Return the fields of a dataclass that are options, in their order."""
    hints = get_type_hints(cls)
    return tuple(
        CommandOption(
            one.name,
            "--" + (one.metadata[KEY].name or one.name.replace("_", "-")),
            _typed(hints[one.name]),
            one.default,
            one.metadata[KEY],
        )
        for one in dataclasses.fields(cls)
        if KEY in one.metadata
    )


def made(cls: type[T], given: Mapping[str, Any]) -> T:
    """Return the dataclass of what was typed for each field; None: nothing was."""
    values: dict[str, Any] = {}
    for one in options_of(cls):
        typed = given.get(one.field)
        if typed is not None:
            values[one.field] = one.spelling.read(typed) if one.spelling.read else typed
        elif one.spelling.otherwise:
            values[one.field] = one.spelling.otherwise(values)
        elif one.default is not MISSING:
            values[one.field] = one.default
    return cls(**values)


def to_args(
    options: Any,
    always: Collection[str] | None = None,
    without: Collection[str] = (),
    flags: Mapping[str, str] | None = None,
) -> list[str]:
    """Return the arguments that say the same on a command line.

    `always` are the fields that are said even where they have their default, None: all. `without`
    are never said; `flags` holds other names for some.
    """
    arguments: list[str] = []
    for one in options_of(type(options)):
        value = getattr(options, one.field)
        is_said = always is None or one.field in always or value != one.default
        text = one.written(value)
        if one.field in without or not is_said or not text or value is False:
            continue
        flag = (flags or {}).get(one.field, one.flag)
        arguments += [flag] if value is True else [flag, text]
    return arguments


def from_args(cls: type[T], arguments: Sequence[str]) -> T:
    """Return the dataclass of a command line's arguments, as `to_args` writes them."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for one in options_of(cls):
        how: dict[str, Any] = (
            {"action": "store_true"} if one.type is bool else {"type": one.type, "default": None}
        )
        parser.add_argument(one.flag, dest=one.field, **how)
    return made(cls, vars(parser.parse_args(arguments)))


def takes(cls: type[Any]) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Let a command take a dataclass's options one by one, for its argument of that type.

    To be written above the command; the options stand where the argument did.
    """

    def spread_out(command: Callable[..., R]) -> Callable[..., R]:
        parameters = inspect.signature(command, eval_str=True).parameters
        argument = next(name for name, one in parameters.items() if one.annotation is cls)
        options = [one for one in options_of(cls) if not one.spelling.internal]

        @functools.wraps(command)
        def called(**given: Any) -> R:
            typed = {one.field: given.pop(one.field, None) for one in options}
            return command(**{argument: made(cls, typed)}, **given)

        spread: list[inspect.Parameter] = []
        for name, parameter in parameters.items():
            spread += map(_parameter, options) if name == argument else [parameter]
        keyword = inspect.Parameter.KEYWORD_ONLY
        spread = [parameter.replace(kind=keyword) for parameter in spread]
        called.__dict__["__signature__"] = inspect.Signature(spread)
        called.__annotations__ = {one.name: one.annotation for one in spread}
        return called

    return spread_out


def _parameter(one: CommandOption) -> inspect.Parameter:
    spelling, words = one.spelling, one.spelling.default_in_words
    said = typer.Option(one.flag, help=spelling.help, show_default=words or True)
    if spelling.otherwise or one.default is None:
        annotation, default = one.type | None, None
    else:
        annotation, default = one.type, one.default
        if not isinstance(default, one.type):
            default = one.written(default)
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(
        one.field, kind, default=default, annotation=Annotated[annotation, said]
    )


def _typed(hint: Any) -> type[Any]:
    """Return the type of what is typed for a field: that of the field, or text."""
    kinds = [kind for kind in get_args(hint) if kind is not NoneType] or [hint]
    return kinds[0] if len(kinds) == 1 and kinds[0] in TYPED else str
