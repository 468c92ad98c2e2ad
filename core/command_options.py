"""A dataclass's fields as the options of a command: each option is said once, where its value is.

@dataclass(frozen=True)
class Training:
    steps: int = option("Steps in all.", Integer(1000, low=1))

    def __post_init__(self) -> None:
        check(self)

@fields_as_options
def train(*, settings: Given[Training]) -> None: ...

The same fields make the arguments that a child process is given, and the dataclass of arguments.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from twingrad.core.errors import SettingError
from twingrad.core.spec import Choice, Setting

T = TypeVar("T")
KEY = "option"  # under which a field's metadata hold its Option
TYPED = (str, int, float, bool, Path)  # what a command line can read by itself; else it is text


@dataclass(frozen=True)
class Option:
    """What a command has to know of a field, beside its name, its type and its default."""

    help: str
    range: Setting | None = None
    shown: str | None = None  # the default in words, where its value says too little
    flags: str | None = None  # such as "--recompute/--keep", where the name is not enough
    read: Callable[[Any], Any] | None = None  # makes the value of what was typed
    write: Callable[[Any], str] = str  # makes what is typed of the value
    # The value where none was given, from those of the fields before it; else the default.
    otherwise: Callable[[Mapping[str, Any]], Any] | None = None
    fixed: bool = False  # a run keeps it to its end
    internal: bool = False  # said to child processes, and no option of a command


@dataclass(frozen=True)
class CommandOption:
    """A field that is an option: how it is called, and what is typed for it."""

    name: str
    type: Any
    default: Any
    said: Option

    @property
    def flags(self) -> str:
        """How it is written on a command line; a flag's other name after a slash."""
        return self.said.flags or f"--{self.name.replace('_', '-')}"

    @property
    def typed(self) -> str | None:
        """The default as it would be typed; None where there is nothing to type."""
        if self.default is None or self.said.otherwise is not None:
            return None
        return self.said.write(self.default)


def option(help: str, default: Any, **more: Any) -> Any:
    """Return a dataclass field that is an option too, with `more` as in Option.

    `default` is a value, or a setting that has the default and the range.
    """
    if isinstance(default, Setting):
        return field(default=default.default, metadata={KEY: Option(help, default, **more)})
    return field(default=default, metadata={KEY: Option(help, **more)})


def options_of(kind: Any) -> tuple[CommandOption, ...]:
    """Return the fields of a dataclass that are options, in their order."""
    types = get_type_hints(kind)
    return tuple(
        CommandOption(one.name, _typed(types[one.name]), one.default, one.metadata[KEY])
        for one in fields(kind)
        if KEY in one.metadata
    )


def check(values: Any) -> None:
    """Raise SettingError for the first field of a dataclass that is out of its range."""
    for one in options_of(type(values)):
        value, valid = getattr(values, one.name), one.said.range
        if valid is not None and not valid.accepts(value):
            words = valid.valid.removesuffix(", or None")
            if isinstance(valid, Choice):
                words = f"one of {', '.join(valid.options)}"
            raise SettingError(f"must be {words}; got {value!r}", one.name)


def check_changes(kind: Any, names: Iterable[str]) -> None:
    """Raise SettingError for the first of these fields that a run keeps to its end."""
    fixed = {one.name for one in options_of(kind) if one.said.fixed}
    for name in names:
        if name in fixed:
            raise SettingError("cannot change when a run is resumed", name)


def made(kind: type[T], given: Mapping[str, Any]) -> T:
    """Return the dataclass of what was typed for some of its fields.

    Raises what the dataclass raises for a value out of range.
    """
    values: dict[str, Any] = {}
    for one in options_of(kind):
        if one.name in given:
            read = one.said.read
            values[one.name] = read(given[one.name]) if read is not None else given[one.name]
        elif one.said.otherwise is not None:
            values[one.name] = one.said.otherwise(values)
        elif one.default is not MISSING:
            values[one.name] = one.default
    return kind(**values)


def to_args(
    values: Any,
    always: Collection[str] | None = None,
    without: Collection[str] = (),
    flags: Mapping[str, str] | None = None,
) -> list[str]:
    """Return the arguments that say the same as a dataclass on a command line.

    `always` are the fields that are said even where they have their default, None: all. `without`
    are never said; `flags` holds other names for some.
    """
    arguments: list[str] = []
    for one in options_of(type(values)):
        value = getattr(values, one.name)
        text = "" if value is None else one.said.write(value)
        is_said = always is None or one.name in always or value != one.default
        if one.name in without or not is_said or not text or value is False:
            continue
        flag = (flags or {}).get(one.name, one.flags)
        arguments += [flag] if value is True else [flag, text]
    return arguments


def from_args(kind: type[T], arguments: Sequence[str]) -> T:
    """Return the dataclass of a command line's arguments, as `to_args` writes them."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for one in options_of(kind):
        how: dict[str, Any] = {"action": "store_true"} if one.type is bool else {"type": one.type}
        parser.add_argument(one.flags, dest=one.name, default=argparse.SUPPRESS, **how)
    return made(kind, vars(parser.parse_args(arguments)))


@dataclass(frozen=True)
class Given(Generic[T]):
    """The fields of the dataclass `kind` that a command line gave; the others have defaults."""

    kind: type[T]
    values: Mapping[str, Any]

    def instance(self) -> T:
        """Return the dataclass. Raises what it raises for a value out of range."""
        return made(self.kind, self.values)


def fields_as_options(function: Callable[..., None]) -> Callable[..., None]:
    """Return `function` as typer can run it: each parameter Given[D] becomes the options of D.

    All parameters of `function` are keyword-only; the others are typer's as they are.
    """
    import typer  # what only reads settings does without a command line

    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    own = inspect.signature(function, eval_str=True).parameters
    kinds = {
        name: get_args(parameter.annotation)[0]
        for name, parameter in own.items()
        if get_origin(parameter.annotation) is Given
    }
    parameters = [context]
    for name, parameter in own.items():
        parameters += _parameters(kinds[name]) if name in kinds else [parameter]

    def command(*, context: Any, **values: Any) -> None:
        for name, kind in kinds.items():
            typed = {one.name: values.pop(one.name) for one in _offered(kind)}
            given = {
                key: value
                for key, value in typed.items()
                if context.get_parameter_source(key).name != "DEFAULT"
            }
            values[name] = Given(kind, given)
        function(**values)

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__module__, command.__qualname__ = function.__module__, function.__qualname__
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _offered(kind: Any) -> list[CommandOption]:
    return [one for one in options_of(kind) if not one.said.internal]


def _parameters(kind: Any) -> Iterator[inspect.Parameter]:
    """Yield each option of a dataclass as a parameter that typer reads."""
    import typer

    for one in _offered(kind):
        is_typed = one.type in TYPED and isinstance(one.default, one.type)
        default = one.default if is_typed else one.typed
        if one.said.otherwise is not None:
            default = None
        info = typer.Option(one.flags, help=one.said.help, show_default=one.said.shown or True)
        yield inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[one.type | None if default is None else one.type, info],
        )


def _typed(hint: Any) -> Any:
    """Return the type of what is typed for a field: that of the field, or text."""
    parts = [part for part in get_args(hint) if part is not NoneType]
    kind = parts[0] if NoneType in get_args(hint) and len(parts) == 1 else hint
    # A list is an option that may be repeated.
    return kind if kind in TYPED or get_origin(kind) is list else str
