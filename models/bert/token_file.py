"""A corpus as token ids, in files that are mapped into memory."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from twingrad.core.errors import DataError
from twingrad.core.files import whole_file
from twingrad.core.random import check_seed, generator
from twingrad.core.spec import Array
from twingrad.models.bert.corpus import Document, as_text
from twingrad.models.bert.tokenizer import Tokenizer
from twingrad.models.splits import checked_share

FORMAT, VERSION = "twingrad tokens", 1
META = "tokens.json"
ARRAYS = ("tokens", "sentences", "documents")
DOCUMENTS_AT_ONCE = 256  # tokenised together


@dataclass(frozen=True, eq=False)
class TokenFile:
    """A corpus as token ids, in a folder of .npy files that are mapped into memory.

    Sentence s is tokens[sentences[s]:sentences[s + 1]]; document d has the sentences from
    documents[d] to documents[d + 1]. `chosen` are the numbers of the documents in this view.
    `tokenizer` and `corpus` are the fingerprints of what it was made from.
    """

    tokens: Array  # (tokens), uint16 or int32
    sentences: Array  # (sentences + 1), int64
    documents: Array  # (documents + 1), int64
    chosen: Array  # (chosen documents), int64
    tokenizer: str
    corpus: str

    @classmethod
    def build(cls, path: Path, documents: Iterable[Document], tokenizer: Tokenizer) -> TokenFile:
        """Tokenise documents into the folder `path`, a few at a time, and load it.

        Sentences without a single known token are left out. The folder appears whole or not at
        all. Raises DataError if fewer than two documents are left, OutputError if it cannot be
        written.
        """
        path = Path(path)
        is_new = not path.exists()
        ids = np.dtype("<u2" if len(tokenizer) <= 1 << 16 else "<i4")
        try:
            with ExitStack() as files:
                # Opened first, so it is closed last: without this file the folder is not valid.
                meta = files.enter_context(whole_file(path / META))
                columns = {
                    name: _Column(
                        files.enter_context(whole_file(path / f"{name}.npy")),
                        ids if name == "tokens" else np.dtype("<i8"),
                    )
                    for name in ARRAYS
                }
                corpus = _fill(columns, documents, tokenizer)
                about = {
                    "format": FORMAT,
                    "version": VERSION,
                    "tokenizer": tokenizer.fingerprint,
                    "corpus": corpus,
                    "arrays": {name: column.finish() for name, column in columns.items()},
                }
                meta.write((json.dumps(about, indent=2) + "\n").encode())
        finally:
            if is_new and path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        return cls.load(path, tokenizer)

    @classmethod
    def load(cls, path: Path, tokenizer: Tokenizer) -> TokenFile:
        """Map a folder that `build` wrote, and verify every byte of it.

        Raises DataError if it is missing or damaged, or was made with another tokenizer.
        """
        path = Path(path)
        about = _about(path / META)
        if about["tokenizer"] != tokenizer.fingerprint:
            raise DataError(f"{path}: it was made with another tokenizer; build it again")
        arrays = {name: _mapped(path / f"{name}.npy", about["arrays"][name]) for name in ARRAYS}
        chosen = np.arange(len(arrays["documents"]) - 1)
        return cls(**arrays, chosen=chosen, tokenizer=about["tokenizer"], corpus=about["corpus"])

    @staticmethod
    def copy(source: Path, path: Path) -> None:
        """Copy a folder that `build` wrote to the folder `path`, whole or not at all.

        Raises OutputError if it cannot be written, DataError if it cannot be read.
        """
        with ExitStack() as files:
            for name in (META, *(f"{array}.npy" for array in ARRAYS)):
                target = files.enter_context(whole_file(path / name))
                try:
                    original = files.enter_context((source / name).open("rb"))
                except OSError as error:
                    raise DataError(f"{source / name}: {error.strerror}") from None
                shutil.copyfileobj(original, target)

    def __len__(self) -> int:
        """Return the number of documents in this view."""
        return len(self.chosen)

    @property
    def token_count(self) -> int:
        """The number of tokens in this view."""
        ends = self.sentences[self.documents]
        return int((ends[self.chosen + 1] - ends[self.chosen]).sum())

    def split(self, held_out: float, seed: int) -> tuple[TokenFile, TokenFile]:
        """Return two views: documents to train on, and a share `held_out` of them kept apart.

        Each has at least two documents, but the second has none if `held_out` is 0. Raises
        SettingError for a share outside [0, 1), DataError for too few documents.
        """
        checked_share(held_out)
        count = max(2, round(held_out * len(self))) if held_out else 0
        if len(self) - count < 2:
            raise DataError(
                f"{len(self)} documents cannot be split with {held_out:g} held out: "
                f"each part needs at least two"
            )
        order = generator(check_seed(seed), "held-out documents").permutation(self.chosen)
        parts = np.sort(order[count:]), np.sort(order[:count])
        return replace(self, chosen=parts[0]), replace(self, chosen=parts[1])


class _Column:
    """An array written to a .npy file piece by piece; its length is known at the end."""

    def __init__(self, file: BinaryIO, dtype: np.dtype[Any]) -> None:
        self.file, self.dtype, self.length = file, dtype, 0
        self.digest = hashlib.sha256()
        self._write_header()

    def append(self, values: Any) -> None:
        content = np.asarray(values, dtype=self.dtype).tobytes()
        self.file.write(content)
        self.digest.update(content)
        self.length += len(values)

    def finish(self) -> dict[str, Any]:
        """Write the header again, and return what identifies the array."""
        self.file.seek(0)
        self._write_header()
        return {
            "dtype": self.dtype.str,
            "length": self.length,
            "sha256": self.digest.hexdigest(),
        }

    def _write_header(self) -> None:
        # NumPy pads the header, so its size stays the same as the array grows.
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.length,)}
        np.lib.format.write_array_header_1_0(self.file, header)


def _fill(columns: dict[str, _Column], documents: Iterable[Document], tokenizer: Tokenizer) -> str:
    """Write the documents to the columns, and return their fingerprint."""
    digest = hashlib.sha256()
    unknown = tokenizer.special_ids
    token_end = sentence_end = 0
    columns["sentences"].append([0])
    columns["documents"].append([0])
    for some in _groups(documents):
        digest.update("".join(map(as_text, some)).encode())
        encoded = iter(tokenizer.encode_many([text for document in some for text in document]))
        tokens: list[int] = []
        lengths: list[int] = []  # of the sentences, in tokens
        counts: list[int] = []  # of the documents, in sentences
        for document in some:
            kept = [ids for ids in islice(encoded, len(document)) if not unknown.issuperset(ids)]
            if kept:
                counts.append(len(kept))
                lengths += map(len, kept)
                tokens += (id for ids in kept for id in ids)
        columns["tokens"].append(tokens)
        columns["sentences"].append(token_end + np.cumsum(lengths, dtype=np.int64))
        columns["documents"].append(sentence_end + np.cumsum(counts, dtype=np.int64))
        token_end, sentence_end = token_end + len(tokens), sentence_end + len(lengths)
    if (left := columns["documents"].length - 1) < 2:
        raise DataError(
            f"a corpus needs at least two documents that hold a known token; got {left}"
        )
    return digest.hexdigest()


def _groups(documents: Iterable[Document]) -> Iterator[list[Document]]:
    rest = iter(documents)
    while some := list(islice(rest, DOCUMENTS_AT_ONCE)):
        yield some


def _about(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_bytes())
        form = about["format"], about["version"]
        missing = {"tokenizer", "corpus"} - set(about) or set(ARRAYS) - set(about["arrays"])
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path.parent}: it is not a token file: it has no {META}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: it is damaged ({_reason(error)}); build it again") from None
    if form != (FORMAT, VERSION):
        raise DataError(
            f"{path}: it must be {FORMAT!r} of version {VERSION}; got {form[0]!r} of {form[1]!r}; "
            f"build it again"
        )
    if missing:
        raise DataError(f"{path}: it is damaged (no {', '.join(sorted(missing))}); build it again")
    return dict(about)


def _mapped(path: Path, about: dict[str, Any]) -> Array:
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        same = (array.dtype.str, array.shape) == (about["dtype"], (about["length"],))
        if not same or hashlib.sha256(array.data).hexdigest() != about["sha256"]:
            raise ValueError("it is not what was written")
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; build it again") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise DataError(f"{path}: it is damaged ({_reason(error)}); build it again") from None
    return array


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
