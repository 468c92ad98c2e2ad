"""Predictions of the two pretraining heads: the masked tokens, and whether B follows A."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from twingrad.core.calls import forward
from twingrad.core.errors import DataError, SettingError
from twingrad.core.modes import evaluating
from twingrad.core.spec import Array
from twingrad.core.state import to_numpy
from twingrad.models.bert.texts import encode, pad
from twingrad.models.bert.tokenizer import Tokenizer


class Guess(NamedTuple):
    """A candidate for a masked token, and its probability."""

    token: str
    probability: float


def fill_mask(model: Any, tokenizer: Tokenizer, text: str, top: int = 5) -> list[list[Guess]]:
    """Return the `top` likeliest tokens for each mask in a text, the likeliest first.

    `model` is a BertForPretraining with a head for masked tokens. Raises DataError for a text
    without a mask or too long for the model, SettingError if `top` is out of range.
    """
    if not 1 <= top <= len(tokenizer):
        raise SettingError(f"must be in 1..{len(tokenizer)} for this model; got {top}", "top")
    mask = tokenizer.token(tokenizer.mask_id)
    ids = tokenizer.encode(text)
    if tokenizer.mask_id not in ids:
        raise DataError(f"the text must contain {mask} in place of a token; got {text!r}")
    most = model.config.max_positions - 2
    if len(ids) > most:
        raise DataError(f"the text must have at most {most} tokens for this model; got {len(ids)}")
    batch = pad([tokenizer.pair(ids, None, len(ids) + 2)], tokenizer.pad_id)
    (positions,) = np.nonzero(batch.input_ids[0] == tokenizer.mask_id)
    with evaluating(model):
        logits = to_numpy(model(*batch, positions=positions).masked_logits)
    # A published embedding table may have more rows than there are tokens.
    probabilities = _softmax(logits[:, : len(tokenizer)])
    return [
        [
            Guess(tokenizer.token(int(id)), float(row[id]))
            for id in np.argsort(-row, kind="stable")[:top]
        ]
        for row in probabilities
    ]


def follows(model: Any, tokenizer: Tokenizer, a: str, b: str) -> float:
    """Return the probability that b follows a, from a BertForPretraining with that head.

    A pair that is too long for the model is cut, its longer part first.
    """
    batch = pad(encode(tokenizer, [a], [b], model.config.max_positions), tokenizer.pad_id)
    with evaluating(model):
        logits = to_numpy(model(*batch).next_logits)
    return float(_softmax(logits)[0, 0])


def _softmax(logits: Array) -> Array:
    return forward("softmax", {"x": logits.astype(np.float64)}, backend="numpy")
