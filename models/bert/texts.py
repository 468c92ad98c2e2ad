"""Texts as batches of token ids, and a model's outputs for them in the order of the texts."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from twingrad.core.errors import DataError, SettingError
from twingrad.core.modes import evaluating
from twingrad.core.spec import Array
from twingrad.models.bert.config import BertConfig
from twingrad.models.bert.corpus import read_lines
from twingrad.models.bert.tokenizer import Tokenizer

Text = tuple[list[int], list[int]]  # a text's ids, special tokens included, and their segments


class Padded(NamedTuple):
    """Texts as arrays for a model, the shorter ones padded."""

    input_ids: Array  # (batch, length), int64
    segment_ids: Array  # (batch, length), int64
    attention_mask: Array  # (batch, length), bool


def read_texts(source: str) -> list[str]:
    """Return the lines of a UTF-8 file, or of standard input for "-"; an empty line is a text.

    Raises DataError for a file that cannot be read or has no line.
    """
    if source == "-":
        name = "standard input"
        try:
            text = sys.stdin.buffer.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{name}: it is not UTF-8: {error.reason}") from None
        lines = [line.rstrip("\r\n") for line in io.StringIO(text, newline=None)]
    else:
        name, lines = source, list(read_lines(Path(source)))
    if not lines:
        raise DataError(f"{name}: there is no text in it")
    return lines


def checked_length(max_length: int | None, config: BertConfig) -> int:
    """Return the most tokens of a text: `max_length`, or as many as the model has positions.

    Raises SettingError if it has fewer.
    """
    most = config.max_positions
    if max_length is not None and not 3 <= max_length <= most:
        raise SettingError(f"must be in 3..{most} for this model; got {max_length}", "max_length")
    return max_length or most


def check_batch_size(batch_size: int) -> None:
    """Raise SettingError unless a batch has at least one text."""
    if batch_size < 1:
        raise SettingError(f"must be an integer >= 1; got {batch_size}", "batch_size")


def encode(
    tokenizer: Tokenizer, texts: Sequence[str], seconds: Sequence[str] | None, length: int
) -> list[Text]:
    """Return texts, or pairs of them, as token ids, at most `length` of each."""
    first = tokenizer.encode_many(texts)
    second = [None] * len(first) if seconds is None else tokenizer.encode_many(seconds)
    return [tokenizer.pair(a, b, length) for a, b in zip(first, second, strict=True)]


def pad(texts: Sequence[Text], pad_id: int) -> Padded:
    """Return texts as arrays, as long as the longest of them."""
    lengths = np.array([len(ids) for ids, _ in texts])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids, segments = np.full(mask.shape, pad_id), np.zeros(mask.shape, np.int64)
    ids[mask] = np.concatenate([ids for ids, _ in texts])
    segments[mask] = np.concatenate([segments for _, segments in texts])
    return Padded(ids, segments, mask)


def in_batches(
    model: Any,
    function: Callable[[Padded], Array],
    texts: Sequence[Text],
    pad_id: int,
    batch_size: int,
) -> Array:
    """Return what `function` returns for each text, with `model` out of training mode.

    Texts of similar length share a batch, so little is computed for padding. Shape: (texts, ...).
    """
    order = np.argsort([len(ids) for ids, _ in texts], kind="stable")
    parts = []
    with evaluating(model):
        for start in range(0, len(order), batch_size):
            chosen = [texts[row] for row in order[start : start + batch_size]]
            parts.append(function(pad(chosen, pad_id)))
    result = np.concatenate(parts)
    result[order] = result.copy()
    return result
