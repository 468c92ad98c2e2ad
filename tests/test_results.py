"""The results that are shipped, and the pages that are made from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twingrad.parity_tests.runs import exhaustive
from twingrad.parity_tests.runs.exhaustive import run as sweeps
from twingrad.parity_tests.runs.mutants import page as mutants

ROOT = Path(__file__).parents[1]
RESULTS = Path(str(exhaustive.__file__)).parents[1] / "results"


def result(name: str) -> Any:
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def test_the_page_of_every_float32_is_made_from_its_result() -> None:
    page = (ROOT / "docs" / "exhaustive.md").read_text(encoding="utf-8")
    assert page == sweeps.page(result("exhaustive.json"))


def test_the_page_of_mutants_is_made_from_its_result() -> None:
    page = (ROOT / "docs" / "mutants.md").read_text(encoding="utf-8")
    assert page == mutants.page(result("mutants.json"))


def test_every_mutant_is_dead_or_computes_the_same() -> None:
    totals = result("mutants.json")["totals"]
    assert totals["mutants"] >= 1500
    assert totals["not_justified"] == 0
