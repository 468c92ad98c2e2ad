"""The tables of the pages are what the command makes of the committed results."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from twingrad.benchmarks.report import document

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", ROOT / "docs" / "benchmarks.md")
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
# The command stands in a comment above its table, and `end of table` in one below.
TABLE = re.compile(r"<!-- (twingrad bench --table [^\n]+) -->\n(.*?)<!-- end of table -->", re.S)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tables_are_what_the_command_prints(
    page: Path, twingrad: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    found = TABLE.findall(page.read_text(encoding="utf-8"))
    assert found
    for command, table in found:
        done = twingrad(*shlex.split(command)[1:])
        assert done.code == 0, done.err
        assert table == done.out


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_a_result_says_what_it_ran_on(path: Path) -> None:
    facts = json.loads(path.read_text(encoding="utf-8"))["environment"]
    assert facts["cpu"]["model"]
    assert facts["versions"]["numpy"]
    blas = next(library for library in facts["blas"] if library["owner"] == "numpy")
    assert blas["architecture"]
    assert blas["threads"]
    assert facts["bench"]["interrupted"] is False


def test_a_suite_that_was_not_measured_has_no_table(refused: Callable[..., str]) -> None:
    assert RESULTS
    rows: list[Any] = json.loads(RESULTS[0].read_text(encoding="utf-8"))["rows"]
    assert {row["suite"] for row in rows}
    assert "--suite" in refused(2, "bench", "--table", RESULTS[0], "--suite", "everything")
    assert set(document({}, [])) == {"environment", "rows"}
