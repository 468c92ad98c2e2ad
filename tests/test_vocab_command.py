"""`twingrad vocab`: a vocabulary from text files, or from the text that is on every machine."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from twingrad.core import packages
from twingrad.models.bert import corpus, vocab_command
from twingrad.models.bert.corpus import Document
from twingrad.models.bert.tokenizer import Tokenizer

LINES = "the Cat sat\nthe cat ran\n\na dog sat\n"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(LINES)
    return path


def test_words_of_a_file(twingrad: Callable[..., Any], text: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "vocab.txt"
    done = twingrad("vocab", "--corpus", text, "--kind", "word", "--lowercase", "--out", out)
    assert done.code == 0, done.err
    assert done.out == f"word: 11 entries, 0.00% of 9 tokens unknown; wrote {out}\n"
    assert out.read_text().split()[5:] == ["cat", "sat", "the", "a", "dog", "ran"]
    assert Tokenizer.load(out).encode("The CAT") == [7, 5]


def test_pieces_of_files_together(twingrad: Callable[..., Any], text: Path, tmp_path: Path) -> None:
    pairs, out = tmp_path / "pairs.tsv", tmp_path / "tokenizer.json"
    pairs.write_text("größer\tals\n", encoding="latin-1")
    latin = tmp_path / "latin.txt"
    latin.write_text(LINES, encoding="latin-1")
    done = twingrad(
        *("vocab", "--corpus", latin, "--corpus", pairs, "--encoding", "latin-1"),
        *("--size", 60, "--out", out),
    )
    assert done.code == 0, done.err
    assert done.out.startswith("wordpiece: ")
    made = Tokenizer.load(out)
    assert made.decode(made.encode("größer")) == "größer"
    assert not made.lowercase


def test_the_share_of_unknown_tokens_is_told(
    twingrad: Callable[..., Any], text: Path, tmp_path: Path
) -> None:
    out = tmp_path / "vocab.txt"
    done = twingrad("vocab", "--corpus", text, "--kind", "word", "--size", 7, "--out", out)
    assert done.out.startswith("word: 7 entries, 55.56% of 9 tokens unknown")
    done = twingrad("vocab", "--corpus", text, "--kind", "word", "--min-frequency", 2, "--out", out)
    assert done.out.startswith("word: 7 entries")


def test_the_demo_corpus_needs_no_file(
    twingrad: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two() -> Iterator[Document]:
        yield ["one sentence here"]
        yield ["and another one"]

    monkeypatch.setattr(corpus, "demo_corpus", two)
    out = tmp_path / "vocab.txt"
    done = twingrad("vocab", "--demo-corpus", "--kind", "word", "--out", out)
    assert done.code == 0, done.err
    assert done.out == f"word: 10 entries, 0.00% of 6 tokens unknown; wrote {out}\n"


def test_a_vocabulary_that_explodes_is_pointed_out(
    twingrad: Callable[..., Any], text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C25: 2 135 556 words went unsaid until memory was out; a line says how to keep it small."""
    monkeypatch.setattr(vocab_command, "MANY", 10)
    done = twingrad("vocab", "--corpus", text, "--kind", "word", "--out", tmp_path / "vocab.txt")
    assert done.code == 0
    assert "more than 10 entries make a large model: --size or --kind wordpiece" in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give either --corpus FILE or --demo-corpus; got neither"),
        (("--corpus", "x.txt", "--demo-corpus"), "got both"),
        (("--demo-corpus", "--kind", "letters"), "--kind must be one of word, wordpiece"),
        (("--demo-corpus", "--size", "3"), "--size must be an integer >= 7"),
        (("--demo-corpus", "--min-frequency", "0"), "--min-frequency must be an integer >= 1"),
        (("--demo-corpus", "--out", "."), "--out must be a file"),
    ],
)
def test_a_wrong_call_is_one_line_and_nothing_is_written(
    arguments: tuple[str, ...],
    words: str,
    refused: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in refused(2, "vocab", *arguments)
    assert not list(tmp_path.iterdir())


def test_an_unknown_encoding_is_a_wrong_call(refused: Callable[..., str], text: Path) -> None:
    assert "utf-9" in refused(2, "vocab", "--corpus", text, "--encoding", "utf-9")


def test_a_missing_package_is_one_line(
    refused: Callable[..., str], text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    line = refused(2, "vocab", "--corpus", text)
    assert line == (
        "twingrad: tokenizers is not installed; install it with: pip install 'twingrad[text]'"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no such file"),
        (b"", "there is no text in it"),
        (b"one document", "at least two documents; got 1"),
        (b"a\tb\nc\n", "line 2: it must be a pair"),
        (b"\xff\n\nx", "byte offset 0"),
    ],
)
def test_a_bad_corpus_is_one_line_and_nothing_is_written(
    content: bytes | None, words: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    path, out = tmp_path / "bad.txt", tmp_path / "out" / "vocab.txt"
    if content is not None:
        path.write_bytes(content)
    assert words in refused(1, "vocab", "--corpus", path, "--out", out)
    assert not out.parent.exists()


def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path) -> None:
    path, out = tmp_path / "large.txt", tmp_path / "tokenizer.json"
    path.write_text("".join(f"word{n} and more of it\n\n" for n in range(600_000)))
    program = "from twingrad.cli import main; print('ready', flush=True); main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "vocab", "--corpus", str(path), "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(1.5)  # until it reads
    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=60)
    assert process.returncode == 130, rest + err
    assert "Traceback" not in rest + err
    assert [other.name for other in tmp_path.iterdir()] == ["large.txt"]


def test_help_answers_without_the_library() -> None:
    program = (
        "import sys\nfrom twingrad.cli import main\nsys.argv = ['twingrad', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'tokenizers', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "vocab" in done.stdout
    assert done.stdout.strip().endswith("[]")
