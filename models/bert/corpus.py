"""Documents from text: corpus files, and the text that is found on every machine."""

from __future__ import annotations

import ast
import codecs
import hashlib
import io
import itertools
import os
import re
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twingrad.core.command_options import option
from twingrad.core.errors import DataError, SettingError
from twingrad.core.files import whole_file
from twingrad.core.spec import Flag

Document = list[str]  # its sentences, in their order

CHUNK = 1 << 20  # bytes of a file that are read at once
LEFT_OUT = {"__pycache__", "dist-packages", "idle_test", "site-packages", "test", "tests"}
LEAST_WORDS = 3  # of a sentence in the demo corpus: what has fewer is a heading or a signature
# After . ! or ?, perhaps closed by a quote or bracket, and before what can open a sentence.
SENTENCE_END = re.compile(r"""(?:(?<=[.!?])|(?<=[.!?]["')\]]))\s+(?=["'(\[`*]*[A-Z])""")
WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class CorpusSource:
    """Where text comes from."""

    corpus: list[Path] | None = option(
        None,
        "Text file: one sentence per line, a blank line between documents; or pairs A<TAB>B. May "
        "be repeated.",
    )
    demo_corpus: bool = option(Flag(), "The texts that come with Python and NumPy.")
    encoding: str = option("utf-8", "Encoding of the text files.")

    def documents(self) -> Iterator[Document]:
        """Yield the documents of the files, and then those of the demo corpus if it is asked for.

        Raises what `read_documents` does.
        """
        if self.corpus:
            yield from read_documents(self.corpus, self.encoding)
        if self.demo_corpus:
            yield from demo_corpus()


def read_documents(paths: Iterable[Path], encoding: str = "utf-8") -> Iterator[Document]:
    """Yield the documents of text files one by one, however large the files are.

    A file has one sentence per line and a blank line between documents; or, if its first line of
    text has a tab, a document of two sentences per line, A<TAB>B.
    Raises SettingError for no file or an unknown encoding, DataError for a file that cannot be
    read, is empty or has a bad line, and for fewer than two documents in all.
    """
    files = [Path(path) for path in paths]
    if not files:
        raise SettingError("must name at least one file; got none", "paths")
    for path in files:
        if not path.exists():  # fail now, not after hours with the files before it
            raise DataError(f"{path}: there is no such file")
    try:
        "".encode(encoding)
    except (LookupError, ValueError):
        raise SettingError(
            f"must be one that Python knows, such as utf-8; got {encoding!r}", "encoding"
        ) from None
    return _read(files, encoding)


def read_lines(path: Path, encoding: str = "utf-8") -> Iterator[str]:
    """Yield the lines of a text file, without line ends and without a byte order mark.

    Raises DataError for a file that cannot be read, or that has another encoding.
    """
    pieces = _decoded(path, encoding)
    text = next(pieces, "").removeprefix("\ufeff")
    for piece in pieces:
        *lines, text = text.split("\n")  # splitlines would also split at form feeds and others
        yield from lines
        text += piece
    *lines, last = text.split("\n")
    yield from lines
    if last:
        yield last


def write_corpus(path: Path, documents: Iterable[Document]) -> None:
    """Write one sentence per line and a blank line between documents, in UTF-8.

    White space inside a sentence becomes one space. Raises OutputError if it cannot be written.
    """
    with whole_file(path) as file:
        for document in documents:
            file.write(as_text(document).encode())


def as_text(document: Document) -> str:
    """Return a document as `write_corpus` writes it."""
    sentences = [" ".join(sentence.split()) for sentence in document]
    return "".join(f"{sentence}\n" for sentence in sentences if sentence) + "\n"


def fingerprint(documents: Iterable[Document]) -> str:
    """Return the sha256 (hexadecimal) of the documents as `write_corpus` writes them."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(as_text(document).encode())
    return digest.hexdigest()


def demo_corpus() -> Iterator[Document]:
    """Yield the English text that is found on every machine, in an order that never changes.

    Python's help topics (a topic is a document), then the docstrings of its standard library and
    of NumPy (a module is a document). They depend on the versions installed: see `fingerprint`.
    """
    from pydoc_data.topics import topics

    texts = itertools.chain(
        ([topics[name]] for name in sorted(topics)),
        _docstrings(Path(sysconfig.get_path("stdlib"))),
        _docstrings(Path(np.__file__).parent),
    )
    for text in texts:
        if document := [sentence for part in text for sentence in sentences(part)]:
            yield document


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a docstring; headings, rules and interactive examples are left out."""
    for paragraph in _paragraphs_of(text):
        for sentence in SENTENCE_END.split(paragraph):
            if len(WORD.findall(sentence)) >= LEAST_WORDS:
                yield sentence


def _read(files: list[Path], encoding: str) -> Iterator[Document]:
    count = 0
    for path in files:
        for document in _documents(path, encoding):
            yield document
            count += 1
    if count < 2:
        raise DataError(
            f"{', '.join(map(str, files))}: a corpus needs at least two documents; got {count}: "
            f"put a blank line between documents, or write pairs A<TAB>B with a real tab"
        )


def _decoded(path: Path, encoding: str) -> Iterator[str]:
    """Yield the text of a file piece by piece, with every line end as a line feed."""
    inner = codecs.getincrementaldecoder(encoding)()
    decoder = io.IncrementalNewlineDecoder(inner, translate=True)
    offset = pending = 0  # bytes before this chunk, and those of them in an unfinished character
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield decoder.decode(chunk)
                offset += len(chunk)
                pending = len(inner.getstate()[0])
        yield decoder.decode(b"", final=True)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except OSError as error:
        raise DataError(f"{path}: it cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: it is not {encoding}: {error.reason} at byte offset "
            f"{offset - pending + error.start}; save it as {encoding}, or name its encoding"
        ) from None


def _documents(path: Path, encoding: str) -> Iterator[Document]:
    lines = enumerate(read_lines(path, encoding), start=1)
    first = next(((number, line) for number, line in lines if line.strip()), None)
    if first is None:
        raise DataError(f"{path}: there is no text in it")
    lines_of_text = itertools.chain([first], lines)
    if "\t" in first[1]:
        yield from _pairs(path, lines_of_text)
    else:
        yield from _paragraphs(line for _, line in lines_of_text)


def _paragraphs(lines: Iterable[str]) -> Iterator[Document]:
    document: Document = []
    for line in lines:
        if sentence := line.strip():
            document.append(sentence)
        elif document:
            yield document
            document = []
    if document:
        yield document


def _pairs(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[Document]:
    blank: int | None = None
    for number, line in lines:
        if not line.strip():
            blank = blank or number
            continue
        if blank:  # blank lines at the end of a file are allowed
            raise DataError(f"{path}: line {blank}: it must be a pair A<TAB>B; it is blank")
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) != 2:
            raise DataError(
                f"{path}: line {number}: it must be a pair A<TAB>B with exactly one tab, "
                f"as on the first line; got {len(columns) - 1} tabs"
            )
        if not all(columns):
            side = "before" if not columns[0] else "after"
            raise DataError(f"{path}: line {number}: there is no text {side} the tab")
        yield columns


def _docstrings(folder: Path) -> Iterator[list[str]]:
    """Yield the docstrings of each module below `folder`, in the order of the source."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - LEFT_OUT)
        for name in sorted(names):
            if name.endswith(".py"):
                yield _docstrings_of(Path(here) / name)


def _docstrings_of(path: Path) -> list[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about invalid escapes in some modules
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []  # a template, or a module for another version of Python
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    nodes.sort(key=lambda node: getattr(node, "lineno", 0))
    return [text for node in nodes if (text := ast.get_docstring(node))]


def _paragraphs_of(text: str) -> Iterator[str]:
    """Yield each paragraph as one line."""
    lines: list[str] = []
    example = False
    for line in [*text.splitlines(), ""]:
        words = line.strip()
        example = bool(words) and (example or words.startswith(">>>"))
        if words and not example and any(map(str.isalnum, words)):
            lines.append(words)
        elif lines:
            yield " ".join(lines)
            lines = []
