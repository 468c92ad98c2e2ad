"""A dataclass's fields as the options of a command, and as the arguments of a child process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from twingrad.core.command_options import (
    Given,
    check,
    check_changes,
    from_args,
    made,
    option,
    options_of,
    takes,
    to_args,
)
from twingrad.core.errors import SettingError
from twingrad.core.spec import Choice, Flag, Integer, Number


def parts(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)


@dataclass(frozen=True)
class Baking:
    """Every kind of option that there is."""

    loaves: int = option(Integer(2, low=1), "How many.", fixed=True)
    hours: float = option(Number(0.5, low=0.0, above=True), "How long.")
    flour: str = option(Choice("rye", ("rye", "wheat")), "Which flour.")
    sliced: bool = option(Flag(), "Slice them.")
    covered: bool = option(Flag(True), "Cover them.", off="open")
    salt: int | None = option(Integer(None, low=0), "Grams of salt.", default_in_words="to taste")
    seeds: tuple[str, ...] = option(
        ("flax",), "Seeds on top.", name="seed", read=parts, write=",".join
    )
    books: list[Path] | None = option(None, "Recipes.")
    grams: int = option(
        0, "Weight.", otherwise=lambda made: 500 * made["loaves"], default_in_words="by --loaves"
    )
    secret: str = option("", "Kept from the help.", internal=True)
    place: str = "kitchen"  # no option

    def __post_init__(self) -> None:
        check(self)


DEFAULTS = made(Baking, {})


def run(command: Callable[..., None], *arguments: str) -> Any:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(command)
    return CliRunner().invoke(app, arguments)


def test_what_was_not_typed_has_its_default() -> None:
    assert Baking(grams=1000) == DEFAULTS
    assert made(Baking, {"loaves": 3, "seeds": "a,b"}).grams == 1500


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loaves": 7, "hours": 0.1, "flour": "wheat", "salt": 0, "grams": 3},
        {"sliced": True},
        {"covered": False},
        {"seeds": ("flax", "poppy")},
        {"seeds": ()},
        {"seeds": ("-x",)},
        {"books": [Path("a.txt"), Path("b c.txt")]},
        {"secret": "raisins"},
    ],
)
def test_arguments_say_all_of_an_object(changes: dict[str, Any]) -> None:
    """Whatever an object holds, its arguments make the same object again."""
    baking = replace(DEFAULTS, **changes)
    assert from_args(Baking, to_args(baking)) == baking
    assert from_args(Baking, to_args(baking, always=())) == baking


def test_only_what_is_wanted_is_said() -> None:
    baking = replace(DEFAULTS, hours=2.0, seeds=("a", "b"))
    said = to_args(baking, always=("flour",), without=("grams",), flags={"hours": "--time"})
    assert said == ["--time", "2.0", "--flour", "rye", "--seed", "a,b"]


def test_an_option_knows_its_flag() -> None:
    flags = {one.field: one.flag for one in options_of(Baking)}
    assert flags["seeds"] == "--seed"
    assert "place" not in flags
    assert {one.field: one.off for one in options_of(Baking)}["covered"] == "--open"


def test_what_is_true_by_default_needs_a_word_for_false() -> None:
    with pytest.raises(TypeError, match="off"):
        option(Flag(True), "Cover them.")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"loaves": 0}, "loaves must be an integer >= 1; got 0"),
        ({"hours": 0.0}, "hours must be a number > 0; got 0.0"),
        ({"flour": "oat"}, "flour must be one of rye, wheat; got 'oat'"),
        ({"sliced": 1}, "sliced must be True or False; got 1"),
        ({"salt": -1}, "salt must be an integer >= 0; got -1"),
    ],
)
def test_an_error_names_the_field(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        Baking(**values)
    assert str(caught.value) == message
    assert caught.value.field == next(iter(values))


def test_a_fixed_field_cannot_change() -> None:
    check_changes(Baking, ["hours", "place"])
    with pytest.raises(SettingError, match="cannot change when a run is resumed") as caught:
        check_changes(Baking, ["hours", "loaves"])
    assert caught.value.field == "loaves"


def test_a_command_takes_the_options_one_by_one() -> None:
    seen: list[Any] = []

    @takes(Baking)
    def bake(
        oven: Annotated[str, typer.Option(help="Which oven.")] = "new", *, baking: Baking
    ) -> None:
        """Bake bread."""
        seen.extend((oven, baking))

    done = run(bake, "--oven", "old")
    assert done.exit_code == 0, done.output
    assert seen == ["old", DEFAULTS]
    seen.clear()
    arguments = ("--seed", "a,b", "--books", "x", "--books", "y", "--open", "--sliced")
    assert run(bake, *arguments).exit_code == 0
    books = [Path("x"), Path("y")]
    expected = replace(DEFAULTS, seeds=("a", "b"), books=books, covered=False, sliced=True)
    assert seen == ["new", expected]
    text = " ".join(run(bake, "--help").output.split())
    for words in ("Bake bread.", "--covered / --open", "[default: (to taste)]", "[default: flax]"):
        assert words in text
    assert "secret" not in text
    assert run(bake, "--secret", "x").exit_code == 2
    assert run(bake, "--loaves", "many").exit_code == 2
    assert isinstance(run(bake, "--loaves", "0").exception, SettingError)


def test_a_command_knows_what_was_typed() -> None:
    """A value that was typed is given, even where it is the default; the others are not."""
    seen: list[Given[Baking]] = []

    @takes(Baking)
    def bake(baking: Given[Baking]) -> None:
        seen.append(baking)

    assert run(bake, "--loaves", "2", "--seed", "flax").exit_code == 0
    (given,) = seen
    assert given.values == {"loaves": 2, "seeds": ("flax",)}
    assert given.made() == DEFAULTS
    assert run(bake, "--loaves", "0").exit_code == 0
    with pytest.raises(SettingError, match="loaves must be"):
        seen[-1].made()


def test_settings_are_read_without_a_command_line() -> None:
    program = "import sys; import twingrad.models.bert.settings; assert 'typer' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
