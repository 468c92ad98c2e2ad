"""Every finding has its section, and every section its test."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "findings.md"
TESTS = ROOT / "parity_tests" / "test_findings.py"


def test_every_finding_is_on_the_page() -> None:
    tree = ast.parse(TESTS.read_text(encoding="utf-8"))
    tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8")))
    assert named == {name for name in tests if name.startswith("test_")}


def test_the_table_has_a_row_for_each_section() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \|", text, re.MULTILINE)
    sections = re.findall(r"^## (\d+)\. ", text, re.MULTILINE)
    assert rows == sections == [str(number + 1) for number in range(len(rows))]
