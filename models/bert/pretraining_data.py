"""Pretraining examples: masked tokens and pairs of sentences, any batch of them at any time."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from twingrad.core.errors import DataError, SettingError
from twingrad.core.files import whole_file
from twingrad.core.random import check_seed, generator
from twingrad.core.spec import Array
from twingrad.models.bert.corpus import Document, as_text
from twingrad.models.bert.tokenizer import Tokenizer, longest_first

FORMAT, VERSION = "twingrad tokens", 1
META = "tokens.json"
ARRAYS = ("tokens", "sentences", "documents")
DOCUMENTS_AT_ONCE = 256  # that are tokenised together
MASKINGS = ("dynamic", "stored")
MASKED, RANDOM = 0.8, 0.1  # shares of the targets: replaced by [MASK], and by any token
LEAST_LENGTH = 5  # [CLS] a [SEP] b [SEP]


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
                # What is opened first is closed last: without this file there is no token file.
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
        """Map a folder that `build` wrote, after a look at every byte of it.

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

        Each has at least two documents, but the second none if `held_out` is 0. Raises
        SettingError for a share outside [0, 1), DataError for too few documents.
        """
        if not 0 <= held_out < 1:
            raise SettingError(f"held_out must be a share in [0, 1); got {held_out!r}")
        count = max(2, round(held_out * len(self))) if held_out else 0
        if len(self) - count < 2:
            raise DataError(
                f"{len(self)} documents cannot be split with {held_out:g} held out: "
                f"each part needs at least two"
            )
        order = generator(check_seed(seed), "held-out documents").permutation(self.chosen)
        parts = np.sort(order[count:]), np.sort(order[:count])
        return replace(self, chosen=parts[0]), replace(self, chosen=parts[1])


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples (rows of one length) and what is asked of them.

    `masked_positions` are indices into the flattened input_ids, in order; `masked_targets` are
    the ids that stood there. A next_sentence_label is 0 if b follows a, and 1 if it is random.
    """

    input_ids: Array  # (rows, length), int64
    token_type_ids: Array  # (rows, length), int64
    attention_mask: Array  # (rows, length), bool
    masked_positions: Array  # (targets), int64
    masked_targets: Array  # (targets), int64
    next_sentence_label: Array  # (rows), int64


class Draws(NamedTuple):
    """Numbers in [0, 1): all the chance in some rows, whatever batch they are in."""

    is_short: Array  # (rows), like all up to b
    target: Array
    place: Array
    split: Array
    is_random: Array
    document: Array
    b: Array
    order: Array  # (rows, length), of the tokens: the lowest become targets
    action: Array  # (rows, length)
    token: Array  # (rows, length)


class Pairs(NamedTuple):
    """Where the two segments of each row lie in the tokens, and whether b is random."""

    a: Array  # (rows), its first token
    a_length: Array
    b: Array
    b_length: Array
    is_random: Array


class PretrainingData:
    """Batches for masked tokens and next sentences: `batch(step)` depends on nothing but the step.

    An epoch shows every example once, in an order of its own; the last batch is as short as it is.
    An example has its own place in a document. a is some sentences near it; b is, with probability
    1/2, the sentences that follow, and else sentences of another document. With
    `masking="dynamic"` every epoch draws pairs and masks anew, with "stored" they stay.
    Among the tokens of a row that are not special, exactly max(1, round(mask_rate * n)) are
    targets; a row of nothing but unknown tokens has none.
    Raises SettingError for a setting out of range, DataError if `tokens` does not fit.
    """

    def __init__(
        self,
        tokens: TokenFile,
        tokenizer: Tokenizer,
        seq_len: int,
        batch_size: int,
        seed: int,
        masking: str = "dynamic",
        mask_rate: float = 0.15,
        short_rate: float = 0.1,
    ) -> None:
        if seq_len < LEAST_LENGTH:
            raise SettingError(f"seq_len must be an integer >= {LEAST_LENGTH}; got {seq_len!r}")
        if batch_size < 1:
            raise SettingError(f"batch_size must be an integer >= 1; got {batch_size!r}")
        if masking not in MASKINGS:
            raise SettingError(f"masking must be one of {', '.join(MASKINGS)}; got {masking!r}")
        if not 0 < mask_rate <= 1:
            raise SettingError(f"mask_rate must be a share in (0, 1]; got {mask_rate!r}")
        if not 0 <= short_rate <= 1:
            raise SettingError(f"short_rate must be a share in [0, 1]; got {short_rate!r}")
        if tokens.tokenizer != tokenizer.fingerprint:
            raise DataError("tokens were made with another tokenizer; build them again")
        if len(tokens) < 2:
            raise DataError(
                f"pretraining needs at least two documents, as a random b must come from another; "
                f"got {len(tokens)}"
            )
        self.tokenizer, self.seq_len, self.batch_size = tokenizer, seq_len, batch_size
        self.seed, self.masking = check_seed(seed), masking
        self.mask_rate, self.short_rate = mask_rate, short_rate
        self._room = seq_len - 3
        # Plain views of the mapped files: np.memmap makes every index slower.
        self._tokens, self._begins = np.asarray(tokens.tokens), np.asarray(tokens.sentences)
        self._first = tokens.documents[tokens.chosen]  # sentence of each document, and
        self._last = tokens.documents[tokens.chosen + 1]  # that after its last
        lengths = self._begins[self._last] - self._begins[self._first]
        self._places = -(-lengths // self._room)  # examples of each document
        self._places_end = np.cumsum(self._places)
        self.examples = int(self._places_end[-1])
        is_special = np.zeros(len(tokenizer), dtype=bool)
        is_special[list(tokenizer.special_ids)] = True
        self._is_special, self._ordinary = is_special, np.flatnonzero(~is_special)
        self._order: tuple[int, Array] = (-1, np.empty(0))  # of the epoch seen last

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-self.examples // self.batch_size)

    def batch(self, step: int) -> Batch:
        """Return the batch of this step, counted from 0 over all epochs."""
        if step < 0:
            raise SettingError(f"step must be an integer >= 0; got {step!r}")
        epoch, number = divmod(step, len(self))
        rows = self._epoch(epoch)[number * self.batch_size : (number + 1) * self.batch_size]
        draws = self._draw(epoch, rows)
        pairs = self._pairs(rows, draws)
        input_ids, token_type_ids, attention_mask = self._rows(pairs)
        positions, targets = self._mask(input_ids, draws)
        label = pairs.is_random.astype(np.int64)
        return Batch(input_ids, token_type_ids, attention_mask, positions, targets, label)

    def _epoch(self, epoch: int) -> Array:
        """Return the order of the examples in an epoch."""
        if self._order[0] != epoch:
            rng = generator(self.seed, "order of examples", epoch)
            self._order = (epoch, rng.permutation(self.examples))
        return self._order[1]

    def _draw(self, epoch: int, rows: Array) -> Draws:
        """Return the draws of these examples, each from a generator of its own."""
        first = 0 if self.masking == "stored" else epoch * self.examples
        singles = len(Draws._fields) - 3
        draws = np.empty((len(rows), singles + 3 * self.seq_len))
        for row, example in zip(draws, rows.tolist(), strict=True):
            generator(self.seed, "example", first + example).random(out=row)
        per_token = np.split(draws[:, singles:], 3, axis=1)
        return Draws(*draws[:, :singles].T, *per_token)

    def _pairs(self, rows: Array, draws: Draws) -> Pairs:
        begins = self._begins
        short = 2 + _floor(draws.target * (self._room - 1))
        length = np.where(draws.is_short < self.short_rate, short, self._room)

        # Around a place of the document, as many sentences as it takes to fill the length.
        document = np.searchsorted(self._places_end, rows, side="right")
        place = rows - (self._places_end - self._places)[document]
        first, last = self._first[document], self._last[document]
        size = begins[last] - begins[first]
        middle = _floor(size * (place + draws.place) / self._places[document])
        at = begins[first] + np.clip(middle - length // 2, 0, np.maximum(0, size - length))
        sentence = self._sentence_of(at)
        start = begins[sentence]
        stop_sentence = np.minimum(np.searchsorted(begins, start + length), last)
        stop = begins[stop_sentence]

        # Split between two of them; a single one, which may be longer than all its room, in its
        # middle, or in the middle of what is around the place.
        count = stop_sentence - sentence
        is_alone = count == 1
        start = np.where(is_alone, np.maximum(start, np.minimum(at, stop - length)), start)
        stop = np.where(is_alone, np.minimum(stop, start + length), stop)
        b_sentence = sentence + 1 + _floor(draws.split * (count - 1))
        split = np.where(is_alone, (start + stop + 1) // 2, begins[b_sentence])

        # A random b is as long as the true one, so that no length gives it away: in tokens, or
        # in sentences where the document ended early.
        is_full = stop - start >= length
        need = np.where(is_full, length - (split - start), 1)
        other = self._random_b(
            document,
            draws,
            is_alone,
            np.where(is_alone, np.maximum(1, stop - split), need),
            np.where(is_full, 1, stop_sentence - b_sentence),
        )
        is_random = (draws.is_random < 0.5) | (split == stop)
        b, b_stop = np.where(is_random, other, (split, stop))
        a_length, b_length = longest_first(split - start, b_stop - b, length)
        # a loses its first tokens, so that it still touches a b that follows.
        return Pairs(split - a_length, a_length, b, b_length, is_random)

    def _random_b(
        self, document: Array, draws: Draws, is_inside: Array, need: Array, need_sentences: Array
    ) -> tuple[Array, Array]:
        """Return where to start and stop in another document, to have so much if it has it.

        Where `is_inside`, any token can be the first, as where a sentence was split.
        """
        begins = self._begins
        # The document is drawn by its size, as that of a, from all places but its own.
        own = self._places[document]
        place = _floor(draws.document * (self.examples - own))
        place += np.where(place >= self._places_end[document] - own, own, 0)
        other = np.searchsorted(self._places_end, place, side="right")
        last = self._last[other]
        begin, end = begins[self._first[other]], begins[last]
        # No true b opens its document, so no random one does if it has another sentence.
        first = self._first[other] + (last - self._first[other] > 1)
        latest = np.minimum(last - need_sentences, self._sentence_of(end - need))
        sentence = first + _floor(draws.b * (np.maximum(latest, first) - first + 1))
        inside = begin + _floor(draws.b * np.maximum(1, end - need - begin + 1))
        start = np.where(is_inside, inside, begins[sentence])
        enough = np.maximum(sentence + need_sentences, np.searchsorted(begins, start + need))
        stop = np.where(is_inside, start + need, begins[np.minimum(enough, last)])
        return start, np.minimum(stop, end)

    def _rows(self, pairs: Pairs) -> tuple[Array, Array, Array]:
        """Return input_ids, token_type_ids and attention_mask (rows, length)."""
        at = np.arange(self.seq_len)
        a_end = 1 + pairs.a_length[:, None]  # where the first [SEP] stands
        b_end = a_end + 1 + pairs.b_length[:, None]  # and the second
        in_a, in_b = (at >= 1) & (at < a_end), (at > a_end) & (at < b_end)
        from_a, from_b = pairs.a[:, None] + at - 1, pairs.b[:, None] + at - a_end - 1
        is_text = in_a | in_b
        input_ids = np.full(in_a.shape, self.tokenizer.pad_id)
        input_ids[is_text] = self._tokens[np.where(in_a, from_a, from_b)[is_text]]
        input_ids[:, 0] = self.tokenizer.cls_id
        input_ids[(at == a_end) | (at == b_end)] = self.tokenizer.sep_id
        return input_ids, ((at > a_end) & (at <= b_end)).astype(np.int64), at <= b_end

    def _mask(self, input_ids: Array, draws: Draws) -> tuple[Array, Array]:
        """Change input_ids where targets are; return the positions and the targets."""
        maskable = ~self._is_special[input_ids]
        count = maskable.sum(axis=1)
        chosen = np.minimum(count, np.maximum(1, np.rint(self.mask_rate * count).astype(np.int64)))
        order = np.argsort(np.where(maskable, draws.order, 1.0), axis=1)
        is_target = np.zeros_like(maskable)
        np.put_along_axis(is_target, order, np.arange(self.seq_len) < chosen[:, None], axis=1)
        positions = np.flatnonzero(is_target)
        targets = input_ids.ravel()[positions]
        action, token = draws.action[is_target], draws.token[is_target]
        any_token = self._ordinary[_floor(token * len(self._ordinary))]
        shown = np.where(action < MASKED + RANDOM, any_token, targets)
        input_ids[is_target] = np.where(action < MASKED, self.tokenizer.mask_id, shown)
        return positions, targets

    def _sentence_of(self, token: Array) -> Array:
        """Return the numbers of the sentences that hold these tokens, by their numbers."""
        after: Array = np.searchsorted(self._begins, token, side="right")
        return after - 1


def _floor(x: Array) -> Array:
    """Return the whole part of numbers >= 0."""
    whole: Array = x.astype(np.int64)
    return whole


class _Column:
    """An array that goes to a .npy file piece by piece; its length is known at the end."""

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
        """Write the header again, and return what it takes to know the array."""
        self.file.seek(0)
        self._write_header()
        return {
            "dtype": self.dtype.str,
            "length": self.length,
            "sha256": self.digest.hexdigest(),
        }

    def _write_header(self) -> None:
        # NumPy pads the header, so that it keeps its place when the array grows.
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
        raise DataError(f"{path.parent}: there is no token file, as it has no {META}") from None
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
