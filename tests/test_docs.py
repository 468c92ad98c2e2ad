"""The pages tell the truth: links lead somewhere, commands parse, snippets run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from twingrad.cli import app

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """Return the words of every twingrad command that stands in a shell block or in backticks."""
    text = page.read_text(encoding="utf-8")
    shell = (block.replace("\\\n", " ") for block in blocks(page, "sh"))
    lines = [line for block in shell for line in block.splitlines()]
    lines += re.findall(r"`(twingrad [^`\n]+)`", text)
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[1:] for line in words if line and line[0] == "twingrad"]


def test_pages_are_found() -> None:
    names = {page.name for page in PAGES}
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "parity.md", "meaning.md"} <= names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", text) + re.findall(r'src="([^"]+)"', text)
    for target in targets:
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist_with_their_options(page: Path) -> None:
    for words in commands(page):
        command: Any = typer.main.get_command(app)
        rest = list(words)
        while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
            name = rest.pop(0)
            found = command.commands.get(name)
            assert found is not None, f"{page.name}: twingrad {' '.join(words)}"
            command = found
        options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        for word in rest:
            if word.startswith("--"):
                assert word.split("=")[0] in options, f"{page.name}: {word}"


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")  # float(loss) on torch
@pytest.mark.parametrize("snippet", blocks(ROOT / "README.md", "python"))
def test_snippets_of_the_readme_run(
    snippet: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "README.md", "exec"), {"__name__": "readme"})
    printed = capsys.readouterr().out.split()
    if printed:  # a loss for each backend: "the same number twice"
        assert printed[0::2] == ["numpy", "torch"]
        assert f"{float(printed[1]):.12g}" == f"{float(printed[3]):.12g}"


def test_every_file_of_laws_is_in_the_table() -> None:
    """A law that no page names is one that nobody looks for."""
    page = (ROOT / "docs" / "parity.md").read_text(encoding="utf-8")
    missing = [
        path.stem
        for path in sorted((ROOT / "parity_tests").glob("test_*.py"))
        if f"`{path.stem}`" not in page
    ]
    assert not missing
