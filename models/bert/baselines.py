"""What a model must beat: how well word counts alone predict the masked tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from twingrad.core.spec import Array
from twingrad.models.bert.pretraining_data import PretrainingBatch
from twingrad.models.bert.token_file import TokenFile

SHARES = np.linspace(0.0, 0.95, 20)  # weight of the bigram; the unigram has the rest


@dataclass(frozen=True)
class Baselines:
    """Mean surprise of the held-out targets, in nats."""

    unigram: float  # from the frequency of the token alone
    bigram: float  # from the token on its left, mixed with the unigram


def baselines(train: TokenFile, vocabulary: int, batches: Iterable[PretrainingBatch]) -> Baselines:
    """Return how well counts of the training text predict the masked tokens of some batches.

    One is added to every token's count, so that none is impossible. The weight of the bigram is the
    best one for these very targets, which favours the baseline.
    """
    text, begins = _documents(train)
    single = np.bincount(text, minlength=vocabulary) + 1.0
    unigram = single / single.sum()
    inside = np.ones(len(text), bool)
    inside[begins] = False  # the first token of a document has none before it
    pairs = text[:-1][inside[1:]] * vocabulary + text[1:][inside[1:]]
    keys, counts = np.unique(pairs, return_counts=True)
    heads = np.bincount(text[:-1][inside[1:]], minlength=vocabulary)
    left, targets = _contexts(batches)
    wanted = left * vocabulary + targets
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    seen = np.where(keys[at] == wanted, counts[at], 0)
    follows = seen / np.maximum(heads[left], 1)
    # A left token that was never seen has no bigram to mix in.
    shares = np.where(heads[left] > 0, SHARES[:, None], 0.0)
    mixed = shares * follows + (1 - shares) * unigram[targets]
    surprise = -np.log(mixed).mean(axis=1)
    return Baselines(float(-np.log(unigram[targets]).mean()), float(surprise.min()))


def _documents(train: TokenFile) -> tuple[Array, Array]:
    """Return the tokens of all documents in a view, one after the other, and where each begins."""
    ends = np.asarray(train.sentences)[np.asarray(train.documents)]
    pieces = [np.asarray(train.tokens[ends[d] : ends[d + 1]]) for d in train.chosen]
    lengths = [len(piece) for piece in pieces]
    begins = np.cumsum([0, *lengths[:-1]])
    return np.concatenate(pieces).astype(np.int64), begins


def _contexts(batches: Iterable[PretrainingBatch]) -> tuple[Array, Array]:
    """Return the true token on the left of each target, and the target."""
    left, targets = [], []
    for batch in batches:
        tokens = batch.input_ids.reshape(-1).copy()
        tokens[batch.masked_positions] = batch.masked_targets
        left.append(tokens[batch.masked_positions - 1])
        targets.append(batch.masked_targets)
    return np.concatenate(left), np.concatenate(targets)
