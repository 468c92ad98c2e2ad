"""A dataclass's fields as the options of a command: each option is said once, where its value is.

@dataclass(frozen=True)
class Training:
    steps: int = option("Steps in all.", Integer(1000, low=1))

    def __post_init__(self) -> None:
        check(self)

@fields_as_options
def train(*, settings: Given[Training]) -> None: ...
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from twingrad.core.errors import SettingError
from twingrad.core.spec import Choice, Setting

T = TypeVar("T")
KEY = "option"  # under which a field's metadata hold its Option


@dataclass(frozen=True)
class Option:
    """What a command has to know of a field, beside its name, its type and its default."""

    help: str
    range: Setting | None = None
    shown: str | None = None  # the default in words, where its value says too little
    flags: str | None = None  # such as "--recompute/--keep", where the name is not enough
    read: Callable[[str], Any] | None = None  # makes the value of the text, for other types
    fixed: bool = False  # a run keeps it to its end


def option(help: str, default: Any, **more: Any) -> Any:
    """Return a dataclass field that is an option too, with `more` as in Option.

    `default` is a value, or a setting that has the default and the range.
    """
    if isinstance(default, Setting):
        return field(default=default.default, metadata={KEY: Option(help, default, **more)})
    return field(default=default, metadata={KEY: Option(help, **more)})


def options_of(kind: Any) -> dict[str, Option]:
    """Return the options among the fields of a dataclass, by their names."""
    return {one.name: one.metadata[KEY] for one in fields(kind) if KEY in one.metadata}


def check(values: Any) -> None:
    """Raise SettingError for the first field of a dataclass that is out of its range."""
    for name, one in options_of(values).items():
        value = getattr(values, name)
        if one.range is not None and not one.range.accepts(value):
            words = one.range.valid.removesuffix(", or None")
            if isinstance(one.range, Choice):
                words = f"one of {', '.join(one.range.options)}"
            raise SettingError(f"must be {words}; got {value!r}", name)


def check_changes(kind: Any, names: Iterable[str]) -> None:
    """Raise SettingError for the first of these fields that a run keeps to its end."""
    known = options_of(kind)
    for name in names:
        if name in known and known[name].fixed:
            raise SettingError("cannot change when a run is resumed", name)


@dataclass(frozen=True)
class Given(Generic[T]):
    """The fields of the dataclass `kind` that a command line gave; the others have defaults."""

    kind: type[T]
    values: Mapping[str, Any]

    def instance(self) -> T:
        """Return the dataclass. Raises what it raises for a value out of range."""
        return self.kind(**self.values)


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
            known = {field: (one, values.pop(field)) for field, one in options_of(kind).items()}
            given = {
                field: value if one.read is None else one.read(value)
                for field, (one, value) in known.items()
                if context.get_parameter_source(field).name != "DEFAULT"
            }
            values[name] = Given(kind, given)
        function(**values)

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__module__, command.__qualname__ = function.__module__, function.__qualname__
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _parameters(kind: Any) -> Iterator[inspect.Parameter]:
    """Yield each option of a dataclass as a parameter that typer reads."""
    import typer

    types = get_type_hints(kind)
    defaults = {one.name: one.default for one in fields(kind)}
    for name, one in options_of(kind).items():
        flag = f"--{name.replace('_', '-')}"
        # A flag that is on or off has one name, unless the field has another for off.
        names = [one.flags or flag] if one.flags or types[name] is bool else []
        default, annotation, shown = defaults[name], types[name], one.shown
        if one.read is not None:
            default, annotation, shown = one.shown, str, None
        info = typer.Option(*names, help=one.help, show_default=shown or True)
        yield inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[annotation, info],
        )
