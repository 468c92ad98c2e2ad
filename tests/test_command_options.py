"""Options that are said once: in the fields of a dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from twingrad.core.command_options import (
    Given,
    check,
    check_changes,
    fields_as_options,
    from_args,
    made,
    option,
    to_args,
)
from twingrad.core.errors import SettingError
from twingrad.core.spec import Choice, Integer


@dataclass(frozen=True)
class Trip:
    """What a command of these tests can be told."""

    places: tuple[str, ...] = option(
        "Where to.", ("a", "b"), read=lambda text: tuple(text.split(",")), write=",".join
    )
    days: int = option("How long.", Integer(3, low=1), fixed=True)
    kind: str = option("By what.", Choice("rail", ("rail", "road")))
    map: Path | None = option("A map.", None)
    fast: bool = option("In a hurry.", False)
    name: str = option("Its name.", "", otherwise=lambda made: f"{made['days']} days")
    stamp: int = option("For child processes.", 0, internal=True)

    def __post_init__(self) -> None:
        check(self)


def run(*arguments: str) -> tuple[Trip, dict[str, Any]]:
    """Return what a command makes of its arguments, and what it was really given."""
    seen: list[Given[Trip]] = []

    @fields_as_options
    def travel(*, trip: Given[Trip], note: str = "") -> None:
        seen.append(trip)

    app = typer.Typer()
    app.command()(travel)
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return seen[0].instance(), dict(seen[0].values)


TRIPS = (
    Trip(),
    Trip(places=("x",), days=9, map=Path("some map"), fast=True, name="tour", stamp=4),
    Trip(kind="road", name="a b"),
)


@pytest.mark.parametrize("trip", TRIPS)
def test_what_is_said_is_what_is_read(trip: Trip) -> None:
    said = from_args(Trip, to_args(trip))
    expected = trip if trip.name else made(Trip, {})
    assert said == expected
    assert to_args(said) == to_args(expected)


def test_what_has_its_default_need_not_be_said() -> None:
    assert to_args(Trip(fast=True), always=()) == ["--fast"]
    assert to_args(Trip(days=4), always=("kind",)) == ["--days", "4", "--kind", "rail"]
    assert to_args(Trip(days=4), always=(), without=("days",)) == []
    assert to_args(Trip(days=4), always=(), flags={"days": "--d"}) == ["--d", "4"]


def test_a_command_makes_the_dataclass_of_what_was_typed() -> None:
    trip, given = run("--places", "x,y", "--days", "5", "--fast")
    assert trip == Trip(places=("x", "y"), days=5, fast=True, name="5 days")
    assert given == {"places": "x,y", "days": 5, "fast": True}
    assert run() == (Trip(name="3 days"), {})


def test_what_is_typed_is_given_even_if_it_is_the_default() -> None:
    assert run("--days", "3")[1] == {"days": 3}


def test_a_wrong_value_names_its_field() -> None:
    with pytest.raises(SettingError, match=r"days must be an integer >= 1; got 0"):
        Trip(days=0)
    with pytest.raises(SettingError, match=r"kind must be one of rail, road; got 'sea'"):
        made(Trip, {"kind": "sea"})


def test_what_a_run_keeps_cannot_change() -> None:
    check_changes(Trip, ["kind", "name"])
    with pytest.raises(SettingError, match="days cannot change when a run is resumed"):
        check_changes(Trip, ["kind", "days"])
