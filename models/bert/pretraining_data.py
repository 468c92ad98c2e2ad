"""Pretraining examples: masked tokens and pairs of sentences, in batches made on demand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from twingrad.core.errors import DataError, SettingError
from twingrad.core.random import check_seed, generator
from twingrad.core.spec import Array
from twingrad.models.bert.settings import LEAST_LENGTH, MASKINGS
from twingrad.models.bert.token_file import TokenFile
from twingrad.models.bert.tokenizer import Tokenizer, longest_first

MASKED, RANDOM = 0.8, 0.1  # shares of the targets: replaced by [MASK], and by any token


@dataclass(frozen=True, eq=False)
class PretrainingBatch:
    """Examples (rows of one length) and their targets.

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
    """The random numbers of some rows, in [0, 1); no matter which batch a row is in."""

    is_short: Array  # (rows), as all down to b
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
    """Batches for masked tokens and next sentences: `batch(step)` depends only on the step.

    An epoch shows every example once, in an order of its own; the last batch may be shorter.
    An example has its own place in a document. a is some sentences near it; b is, with probability
    1/2, the sentences that follow, otherwise sentences of another document. With
    `masking="dynamic"` every epoch draws pairs and masks anew, with "stored" they stay.
    Among the tokens of a row that are not special, exactly max(1, round(mask_rate * n)) are
    targets; a row with only unknown tokens has none.
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
            raise SettingError(f"must be an integer >= {LEAST_LENGTH}; got {seq_len!r}", "seq_len")
        if batch_size < 1:
            raise SettingError(f"must be an integer >= 1; got {batch_size!r}", "batch_size")
        if masking not in MASKINGS:
            raise SettingError(f"must be one of {', '.join(MASKINGS)}; got {masking!r}", "masking")
        if not 0 < mask_rate <= 1:
            raise SettingError(f"must be a share in (0, 1]; got {mask_rate!r}", "mask_rate")
        if not 0 <= short_rate <= 1:
            raise SettingError(f"must be a share in [0, 1]; got {short_rate!r}", "short_rate")
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
        self._first = tokens.documents[tokens.chosen]  # the first sentence of each document, and
        self._last = tokens.documents[tokens.chosen + 1]  # the one after its last
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

    def batch(self, step: int) -> PretrainingBatch:
        """Return the batch of this step, counted from 0 over all epochs."""
        if step < 0:
            raise SettingError(f"must be an integer >= 0; got {step!r}", "step")
        epoch, number = divmod(step, len(self))
        rows = self._epoch(epoch)[number * self.batch_size : (number + 1) * self.batch_size]
        draws = self._draw(epoch, rows)
        pairs = self._pairs(rows, draws)
        input_ids, token_type_ids, attention_mask = self._rows(pairs)
        positions, targets = self._mask(input_ids, draws)
        label = pairs.is_random.astype(np.int64)
        return PretrainingBatch(
            input_ids, token_type_ids, attention_mask, positions, targets, label
        )

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

        # Around a place in the document, as many sentences as are needed to fill the length.
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

        # Split between two of them. A single one, which may be too long, is cut around the place
        # and split in its middle.
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
        """Return where to start and stop in another document, for this much text if it has that.

        Where `is_inside`, any token can be the first, as in a sentence that was split.
        """
        begins = self._begins
        # The document is drawn in proportion to its size, as for a, but is never the one of a.
        own = self._places[document]
        place = _floor(draws.document * (self.examples - own))
        place += np.where(place >= self._places_end[document] - own, own, 0)
        other = np.searchsorted(self._places_end, place, side="right")
        last = self._last[other]
        begin, end = begins[self._first[other]], begins[last]
        # No true b is the start of a document, so a random one is not, if there is a choice.
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
        """Return the indices of the sentences that hold the tokens at these indices."""
        after: Array = np.searchsorted(self._begins, token, side="right")
        return after - 1


def _floor(x: Array) -> Array:
    """Return the whole part of numbers >= 0."""
    whole: Array = x.astype(np.int64)
    return whole
