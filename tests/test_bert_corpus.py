"""Corpus files: what is in them comes out, and what is wrong in them is said with its place."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twingrad.core.errors import DataError, SettingError
from twingrad.models.bert import corpus
from twingrad.models.bert.corpus import (
    Document,
    fingerprint,
    read_documents,
    read_lines,
    sentences,
    write_corpus,
)

SENTENCE = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(
    lambda text: " ".join(text.replace("\ufeff", "").split())
)
DOCUMENT = st.lists(SENTENCE.filter(bool), min_size=1, max_size=4)
DOCUMENTS = st.lists(DOCUMENT, min_size=2, max_size=5)
TWO = [["one a", "one b"], ["two a"]]
# No deadline: a case writes files, and a busy machine may take its time.
SMALL_CHUNKS = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "corpus.txt"


@SMALL_CHUNKS
@given(data=st.data())
def test_what_is_written_is_read(data: st.DataObject, path: Path) -> None:
    documents = data.draw(DOCUMENTS, label="documents")
    write_corpus(path, documents)
    assert list(read_documents([path])) == documents
    assert fingerprint(read_documents([path])) == fingerprint(documents)


@SMALL_CHUNKS
@given(data=st.data())
def test_chunks_never_cut_a_character_or_a_line(data: st.DataObject, path: Path) -> None:
    documents = data.draw(DOCUMENTS, label="documents")
    encoding = data.draw(st.sampled_from(["utf-8", "utf-16", "gb18030"]), label="encoding")
    text = "".join(map(corpus.as_text, documents))
    path.write_bytes(text.encode(encoding))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "CHUNK", data.draw(st.integers(1, 9), label="chunk"))
        assert list(read_documents([path], encoding)) == documents


@pytest.mark.parametrize(
    "content",
    [
        b"one a\none b\n\ntwo a\n",
        b"one a\none b\n\ntwo a",
        b"one a\r\none b\r\n\r\ntwo a\r\n",
        b"\xef\xbb\xbfone a\none b\n\ntwo a\n",
        b"\n\n one a \none b\n\n\n \ntwo a\n\n\n",
    ],
)
def test_line_ends_blanks_and_a_byte_order_mark_make_no_difference(
    content: bytes, path: Path
) -> None:
    path.write_bytes(content)
    assert list(read_documents([path])) == TWO


def test_pairs_are_documents_of_two_sentences(path: Path) -> None:
    path.write_bytes("\ufeff\none a\tone b\r\ntwo a \t two b\r\n\r\n".encode())
    assert list(read_documents([path])) == [["one a", "one b"], ["two a", "two b"]]


def test_files_of_both_forms_make_one_corpus(path: Path, tmp_path: Path) -> None:
    path.write_text("one a\none b")
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("two a\ttwo b")
    assert list(read_documents([path, pairs])) == [["one a", "one b"], ["two a", "two b"]]


def test_only_line_feeds_end_a_line(path: Path) -> None:
    """str.splitlines would also split here, and count lines as no editor does."""
    path.write_text("a\x0cb\x1cc\u2028d\ne\n", encoding="utf-8")
    assert list(read_lines(path)) == ["a\x0cb\x1cc\u2028d", "e"]


def test_documents_are_never_all_in_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "CHUNK", 1 << 14)
    path.write_bytes(b"a sentence\n\n" * 100_000)
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_documents([path])) == 100_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < path.stat().st_size / 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "there is no text in it"),
        (b" \n\n", "there is no text in it"),
        (b"one\ntwo", "a corpus needs at least two documents; got 1: put a blank line between"),
        (b"a\tb\n", "at least two documents; got 1"),
        (b"a\tb\nc\td\te\n", "line 2: it must be a pair A<TAB>B with exactly one tab.*got 2 tabs"),
        (b"a\tb\n\nc\td\n", "line 2: it must be a pair A<TAB>B; it is blank"),
        (b"a\tb\n \t \nc\td\n", "line 2"),
        (b"a\tb\n\td\n", "line 2: there is no text before the tab"),
        (b"\na\tb\nc\t\n", "line 3: there is no text after the tab"),
        (b"one\n\ntw\xf6\n", "it is not utf-8: invalid .* byte at byte offset 7; save it as"),
        (b"one\n\ntw\xc3", "it is not utf-8: unexpected end of data at byte offset 7"),
    ],
)
@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
def test_a_bad_file_is_one_line(
    content: bytes, words: str, chunk: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "CHUNK", chunk)
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        list(read_documents([path]))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read_is_said_before_anything_is(path: Path, tmp_path: Path) -> None:
    path.write_text("a\n\nb")
    with pytest.raises(DataError, match=r"missing\.txt: there is no such file"):
        read_documents([path, tmp_path / "missing.txt"])
    with pytest.raises(SettingError, match=r"encoding must be one that Python knows.*got 'utf-9'"):
        read_documents([path], "utf-9")
    with pytest.raises(SettingError, match="at least one file"):
        read_documents([])
    with pytest.raises(DataError, match="it cannot be read: Is a directory"):
        list(read_documents([tmp_path]))
    with pytest.raises(DataError, match="there is no such file"):
        list(read_lines(tmp_path / "missing.txt"))


def test_another_encoding_is_read_when_named(path: Path) -> None:
    path.write_bytes("größe\n\nmaß".encode("latin-1"))
    assert list(read_documents([path], "latin-1")) == [["größe"], ["maß"]]


def test_the_last_character_stays_without_a_final_newline(path: Path) -> None:
    """C20: "last y" was read as "last "; and a printed \\t is no tab, which the message says."""
    path.write_text("first\tx\nlast\ty")
    assert list(read_documents([path])) == [["first", "x"], ["last", "y"]]
    path.write_text("first\\tx\nlast\\ty\n")
    with pytest.raises(DataError, match="write pairs A<TAB>B with a real tab"):
        list(read_documents([path]))


def test_a_bad_pair_is_found_while_reading(path: Path) -> None:
    """C20: a blank or one-column line was an IndexError in the middle of an epoch."""
    for line in ("", "one column"):
        path.write_text(f"a\tb\n{line}\nc\td\n")
        with pytest.raises(DataError, match=r"corpus\.txt: line 2: it must be a pair"):
            list(read_documents([path]))


def test_an_interrupted_write_leaves_nothing(path: Path) -> None:
    def documents() -> Iterator[Document]:
        yield ["one"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_corpus(path, documents())
    assert not list(path.parent.iterdir())


def test_a_fingerprint_knows_sentences_from_documents() -> None:
    known = {fingerprint(d) for d in ([["a", "b"]], [["a"], ["b"]], [["a b"]], [["b", "a"]])}
    assert len(known) == 4
    assert fingerprint([["a  b\t", " "]]) == fingerprint([["a b"]])


def test_sentences_end_where_a_reader_ends_them() -> None:
    text = """Return x, e.g. 3.14 of it. Is it "done?" Yes!

    Heading of
    ----------
    >>> f(x)
    no sentence of English

    The next (one.) A last one stands here
    """
    assert list(sentences(text)) == [
        "Return x, e.g. 3.14 of it.",
        'Is it "done?"',
        "The next (one.)",
        "A last one stands here",
    ]


def test_the_text_that_is_on_every_machine_is_one() -> None:
    """In two processes, whose sets and folders have orders of their own."""
    program = (
        "from itertools import islice\n"
        "from twingrad.models.bert.corpus import demo_corpus, fingerprint\n"
        "print(fingerprint(islice(demo_corpus(), 150)))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


def test_docstrings_are_documents_and_tests_are_not(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "tests").mkdir()
    code = '"""The module\'s own words."""\n\ndef f():\n    """Here is what f does."""\n'
    for name in ("b/one.py", "a.py", "tests/test_a.py", "readme.txt"):
        (tmp_path / name).write_text(code)
    (tmp_path / "broken.py").write_text("def (:")
    (tmp_path / "escape.py").write_text('"""A bad \\d escape here."""')
    found = [texts for texts in corpus._docstrings(tmp_path) if texts]
    own = ["The module's own words.", "Here is what f does."]
    assert found == [own, ["A bad \\d escape here."], own]


def test_help_topics_are_documents() -> None:
    documents = [document for document, _ in zip(corpus.demo_corpus(), range(70), strict=False)]
    words = sum(len(sentence.split()) for document in documents for sentence in document)
    assert words > 30_000
    assert sum(map(len, documents)) > 1_500
