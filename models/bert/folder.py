"""Folders that hold a BERT: in Hugging Face's form, or as `train bert` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twingrad.core.checkpoint import load_parameters
from twingrad.core.errors import CheckpointError, SettingError
from twingrad.models.bert import huggingface
from twingrad.models.bert.config import BertConfig
from twingrad.models.bert.pretraining import KIND
from twingrad.models.bert.tokenizer import Tokenizer
from twingrad.models.bert.weights import Weights

PADDING = 128  # a published table may be padded to a multiple of this


def open_model(
    folder: Path | str,
    backend: str | None = None,
    dtype: str = "float32",
    device: str | None = None,
    head: str = "pretraining",
) -> tuple[Any, Tokenizer]:
    """Return the model in a folder, and its tokenizer: see Weights.model for the heads.

    Raises CheckpointError for weights, DataError for a tokenizer, that are missing or damaged or
    do not fit each other.
    """
    weights, tokenizer = open_weights(folder)
    return weights.model(head, backend, dtype, device), tokenizer


def open_weights(folder: Path | str) -> tuple[Weights, Tokenizer]:
    """Return the weights and the tokenizer that `open_model` uses."""
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: there is no such folder; models are not downloaded, so name a local one"
        )
    is_theirs = (folder / huggingface.CONFIG).exists()
    weights = huggingface.read_weights(folder) if is_theirs else _read_own(folder)
    tokenizer = Tokenizer.load(folder)
    size = weights.config.vocab_size
    if not size - PADDING < len(tokenizer) <= size:
        raise CheckpointError(
            f"{folder}: the model has {size} tokens, so the tokenizer must have as many; "
            f"it has {len(tokenizer)}"
        )
    return weights, tokenizer


def _read_own(folder: Path) -> Weights:
    path = folder / huggingface.ARRAYS
    try:
        arrays, checkpoint = load_parameters(path)
    except CheckpointError as error:
        raise CheckpointError(
            f"{folder}: there is neither {huggingface.CONFIG} nor a run of `train bert` in it: "
            f"{error}"
        ) from None
    if checkpoint.extra.get("kind") != KIND:
        raise CheckpointError(f"{path}: it is the checkpoint of another model, not of a {KIND}")
    try:
        config = BertConfig.from_dict(checkpoint.extra["config"])
    except (KeyError, TypeError, SettingError) as error:
        raise CheckpointError(f"{path}: it does not describe a {KIND}: {error}") from None
    return Weights(folder, config, arrays)
