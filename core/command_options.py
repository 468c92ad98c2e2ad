"""A dataclass's fields as the options of a command: each is written once, where its value lives.

@dataclass(frozen=True)
class Training:
    steps: int = option(Integer(1000, low=1), "Optimizer steps in all.")

    def __post_init__(self) -> None:
        check(self)

@takes(Training)
def train(training: Training) -> None: ...

The same fields make the options of a command, the arguments of a child process, and the object
itself out of what somebody typed. A command that must know what was typed takes Given[Training].
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from twingrad.core.errors import SettingError
from twingrad.core.spec import Choice, Setting

KEY = "command option"  # of a field's metadata
TYPED = (str, int, float, bool, Path)  # what a command line can read by itself; else it is text

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Spelling:
    """How a field of a dataclass is said on a command line, and which values it may have."""

    help: str
    range: Setting | None = None  # of its values; None: any
    name: str = ""  # without dashes; empty: the field's own
    off: str = ""  # for a field that is True or False: the name of the option that says False
    read: Callable[[Any], Any] | None = None  # makes the field's value of what was typed
    write: Callable[[Any], str] = str  # makes what is typed of the field's value
    # The value where none was typed, from those of the fields before it; else the field's default.
    otherwise: Callable[[Mapping[str, Any]], Any] | None = None
    default_in_words: str = ""  # for the help, where the default depends on something
    internal: bool = False  # for child processes; no option of a command
    fixed: bool = False  # cannot change when a run is resumed


def option(default: Any, help: str, **spelling: Any) -> Any:
    """Return a dataclass's field that is an option as well; for the rest see Spelling.

    `default` is a value, or a setting of a spec that holds the default and the range.
    """
    if isinstance(default, Setting):
        default, spelling = default.default, {"range": default, **spelling}
    if default is True and not spelling.get("off"):
        raise TypeError("an option that is True by default needs `off`, or nothing says False")
    return field(default=default, metadata={KEY: Spelling(help, **spelling)})


@dataclass(frozen=True)
class CommandOption:
    """A field that is an option: how it is said, and what is typed for it."""

    field: str
    flag: str
    type: type[Any]  # of what is typed, each time
    default: Any
    spelling: Spelling
    repeated: bool = False  # typed once for each element of the field's list

    @property
    def off(self) -> str:
        """The flag that says False, or nothing."""
        return f"--{self.spelling.off}" if self.spelling.off else ""

    def written(self, value: Any) -> str:
        """Return a value of the field as it is typed; empty for one that needs no word."""
        return "" if value is None else self.spelling.write(value)

    def arguments(self, value: Any, flag: str) -> list[str]:
        """Return the arguments that say this value; none for None, or for a False without `off`."""
        if value is None:
            return []
        if isinstance(value, bool):
            said = flag if value else self.off
            return [said] if said else []
        if self.repeated:
            return [word for one in value for word in _words(flag, self.written(one))]
        text = self.written(value)
        return _words(flag, text) if text or value != self.default else []


def options_of(cls: type[Any]) -> tuple[CommandOption, ...]:
    """Return the fields of a dataclass that are options, in their order."""
    hints = get_type_hints(cls)
    found = []
    for one in dataclasses.fields(cls):
        if KEY not in one.metadata:
            continue
        spelling: Spelling = one.metadata[KEY]
        flag = "--" + (spelling.name or one.name.replace("_", "-"))
        type_, repeated = _typed(hints[one.name])
        found.append(CommandOption(one.name, flag, type_, one.default, spelling, repeated))
    return tuple(found)


def check(values: Any) -> None:
    """Raise SettingError for the first field of a dataclass that is out of its range."""
    for one in options_of(type(values)):
        value, range_ = getattr(values, one.field), one.spelling.range
        if range_ is not None and not range_.accepts(value):
            words = range_.valid.removesuffix(", or None")
            if isinstance(range_, Choice):
                words = f"one of {', '.join(range_.options)}"
            raise SettingError(f"must be {words}; got {value!r}", one.field)


def check_changes(cls: type[Any], names: Iterable[str]) -> None:
    """Raise SettingError for the first of these fields that is fixed."""
    fixed = {one.field for one in options_of(cls) if one.spelling.fixed}
    for name in names:
        if name in fixed:
            raise SettingError("cannot change when a run is resumed", name)


@dataclass(frozen=True)
class Given(Generic[T]):
    """The fields of a dataclass that were typed, with their values; the others have defaults."""

    kind: type[T]
    values: Mapping[str, Any]

    @classmethod
    def of(cls, kind: type[T], typed: Mapping[str, Any]) -> Given[T]:
        """Return it for what was typed for each field; None: nothing was."""
        values = {}
        for one in options_of(kind):
            value = typed.get(one.field)
            if value is not None:
                values[one.field] = one.spelling.read(value) if one.spelling.read else value
        return Given(kind, values)

    def made(self) -> T:
        """Return the dataclass. Raises what it raises for a value out of range."""
        values: dict[str, Any] = {}
        for one in options_of(self.kind):
            if one.field in self.values:
                values[one.field] = self.values[one.field]
            elif one.spelling.otherwise:
                values[one.field] = one.spelling.otherwise(values)
            else:
                values[one.field] = one.default
        return self.kind(**values)


def made(cls: type[T], typed: Mapping[str, Any]) -> T:
    """Return the dataclass of what was typed for each field; None: nothing was."""
    return Given.of(cls, typed).made()


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
        if is_said and one.field not in without:
            arguments += one.arguments(value, (flags or {}).get(one.field, one.flag))
    return arguments


def from_args(cls: type[T], arguments: Sequence[str]) -> T:
    """Return the dataclass of a command line's arguments, as `to_args` writes them."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for one in options_of(cls):
        how: dict[str, Any] = {"dest": one.field, "default": None}
        if one.type is bool:
            parser.add_argument(one.flag, action="store_const", const=True, **how)
            if one.off:
                parser.add_argument(one.off, action="store_const", const=False, **how)
        else:
            action = "append" if one.repeated else "store"
            parser.add_argument(one.flag, action=action, type=one.type, **how)
    return made(cls, vars(parser.parse_args(arguments)))


def takes(*classes: type[Any]) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Let a command take the options of dataclasses one by one, for its arguments of those types.

    To be written above the command; the options stand where the argument did. An argument of the
    type Given[D] takes the options of D as well, and knows which of them were typed.
    """
    import typer  # whoever only reads settings has no command line

    keyword = inspect.Parameter.KEYWORD_ONLY
    context = inspect.Parameter("context", keyword, annotation=typer.Context)

    def spread_out(command: Callable[..., R]) -> Callable[..., R]:
        parameters = inspect.signature(command, eval_str=True).parameters
        kinds: dict[str, type[Any]] = {}
        for name, parameter in parameters.items():
            kind = parameter.annotation
            kind = get_args(kind)[0] if get_origin(kind) is Given else kind
            if kind in classes:
                kinds[name] = kind

        @functools.wraps(command)
        def called(*, context: Any, **values: Any) -> R:
            def is_typed(name: str) -> bool:
                source = context.get_parameter_source(name)  # none of an internal option
                return source is not None and source.name != "DEFAULT"

            for name, kind in kinds.items():
                own = {one.field: values.pop(one.field, None) for one in options_of(kind)}
                given = Given.of(kind, {one: own[one] for one in filter(is_typed, own)})
                is_given = get_origin(parameters[name].annotation) is Given
                values[name] = given if is_given else given.made()
            return command(**values)

        spread = [context]
        for name, parameter in parameters.items():
            spread += _parameters(kinds[name]) if name in kinds else [parameter]
        spread = [parameter.replace(kind=keyword) for parameter in spread]
        called.__dict__["__signature__"] = inspect.Signature(spread)
        called.__annotations__ = {one.name: one.annotation for one in spread}
        return called

    return spread_out


def _parameters(cls: type[Any]) -> Iterator[inspect.Parameter]:
    """Yield each option of a dataclass as a parameter that typer reads."""
    import typer

    for one in options_of(cls):
        if one.spelling.internal:
            continue
        spelling, default = one.spelling, one.default
        said = typer.Option(
            f"{one.flag}/{one.off}" if one.off else one.flag,
            help=spelling.help,
            show_default=spelling.default_in_words or True,
            metavar=f"<{one.type.__name__.lower()}>" if one.repeated else None,
        )
        annotation: Any = list[one.type] if one.repeated else one.type  # type: ignore[name-defined]
        if spelling.otherwise or default is None:
            annotation, default = annotation | None, None
        elif not one.repeated and not isinstance(default, one.type):
            default = one.written(default)
        kind = inspect.Parameter.KEYWORD_ONLY
        annotation = Annotated[annotation, said]
        yield inspect.Parameter(one.field, kind, default=default, annotation=annotation)


def _typed(hint: Any) -> tuple[type[Any], bool]:
    """Return the type of what is typed for a field, else text, and whether it is repeated."""
    kinds = [] if get_origin(hint) is list else get_args(hint)
    kind, *others = [kind for kind in kinds if kind is not NoneType] or [hint]
    if get_origin(kind) is list and not others:
        return get_args(kind)[0], True
    return (kind if kind in TYPED and not others else str), False


def _words(flag: str, text: str) -> list[str]:
    # What begins with a dash would be taken for a flag.
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]
