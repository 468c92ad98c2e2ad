"""Settings of a BERT: its shape and its training, which the commands take as options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twingrad.core.command_options import check, option
from twingrad.core.errors import SettingError
from twingrad.core.schedule import KINDS, Schedule
from twingrad.core.spec import Choice, Flag, Integer, Number
from twingrad.models.bert.config import SIZES, BertConfig
from twingrad.models.splits import HELD_OUT

LEAST_LENGTH = 5  # [CLS] a [SEP] b [SEP]
LEAST_PLACES = 512  # positions of a new model, at least
MASKINGS = ("dynamic", "stored")
DTYPES = ("float32", "float64", "bfloat16")


@dataclass(frozen=True)
class ModelShape:
    """The shape of a new model, except for what follows from its vocabulary.

    Raises SettingError for a value out of range. None means the value for `size`.
    """

    size: str = option(
        Choice("tiny", tuple(SIZES)), "tiny, mini, small, medium, base or large.", fixed=True
    )
    form: str = option(
        Choice("google", ("google", "teaching")),
        "google: BERT as released; teaching: pre-norm, sinusoids, plain heads.",
        fixed=True,
    )
    hidden: int | None = option(
        Integer(None, low=1), "Width of the model.", default_in_words="by --size", fixed=True
    )
    layers: int | None = option(
        Integer(None, low=0), "Number of blocks.", default_in_words="by --size", fixed=True
    )
    heads: int | None = option(
        Integer(None, low=1), "Attention heads.", default_in_words="by --size", fixed=True
    )
    dropout: float = option(
        Number(0.1, low=0.0, high=1.0, below=True),
        "Dropout rate, also of attention.",
        fixed=True,
    )

    def __post_init__(self) -> None:
        check(self)

    def config(self, vocab_size: int, pad_id: int, seq_len: int) -> BertConfig:
        """Return the config of a model for this vocabulary and examples of this length.

        Raises SettingError for sizes that do not go together.
        """
        width, layers, heads = SIZES[self.size]
        width = width if self.hidden is None else self.hidden
        values: dict[str, Any] = {
            "vocab_size": vocab_size,
            "pad_id": pad_id,
            "hidden_size": width,
            "layers": layers if self.layers is None else self.layers,
            "heads": heads if self.heads is None else self.heads,
            "intermediate_size": 4 * width,
            "max_positions": max(LEAST_PLACES, seq_len),
            "dropout": self.dropout,
            "attention_dropout": self.dropout,
        }
        try:
            if self.form == "teaching":
                return BertConfig.teaching(**values)
            return BertConfig.google(self.size, **values)
        except SettingError as error:
            if error.field != "hidden_size":
                raise
            raise SettingError(error.reason, "hidden") from None


@dataclass(frozen=True)
class PretrainingSettings:
    """How to pretrain. Raises SettingError for a value out of range."""

    seq_len: int = option(Integer(128, low=LEAST_LENGTH), "Tokens of an example.", fixed=True)
    batch_size: int = option(Integer(32, low=1), "Examples in a batch.", fixed=True)
    accumulate: int = option(Integer(1, low=1), "Batches per optimizer step.", fixed=True)
    steps: int = option(Integer(1000, low=1), "Total number of optimizer steps.")
    lr: float = option(Number(1e-4, low=0.0, above=True), "Highest learning rate.")
    warmup: float = option(Number(0.1, low=0.0), "Warm-up steps; below 1: a share of all steps.")
    schedule: str = option(Choice("linear", KINDS), "linear, cosine, noam or constant.")
    weight_decay: float = option(
        Number(0.01, low=0.0), "Weight decay of matrices; biases and norms have none."
    )
    clip: float = option(Number(1.0, low=0.0), "Largest gradient norm; 0: no limit.")
    masking: str = option(
        Choice("dynamic", MASKINGS),
        "dynamic: new masks each epoch; stored: always the same.",
        fixed=True,
    )
    held_out: float = option(
        Number(0.1, low=0.0, high=1.0, below=True),
        "Share of the documents to hold out.",
        fixed=True,
    )
    seed: int = option(Integer(0, low=0), "Seed of weights, split and all draws.", fixed=True)
    dtype: str = option(Choice("float32", DTYPES), "float32, float64, or bfloat16 on torch.")
    native_random: bool = option(Flag(), "Dropout by the backend's own generator.", fixed=True)
    recompute: bool = option(
        Flag(),
        "Compute each block again in the backward pass: less memory, more time.",
        off="keep",
    )

    def __post_init__(self) -> None:
        check(self)

    @property
    def rates(self) -> Schedule:
        """The learning rate of each step."""
        return Schedule(self.schedule, self.lr, self.steps, self.warmup)


@dataclass(frozen=True)
class Pauses:
    """When a run evaluates, saves, or stops early.

    Raises SettingError for a value out of range.
    """

    stop_at: int | None = option(
        Integer(None, low=1),
        "Stop after this step; --resume continues.",
        default_in_words="the last",
    )
    eval_every: int = option(Integer(0, low=0), "Steps between evaluations; 0: at the end.")
    save_every: int = option(Integer(0, low=0), "Steps between checkpoints; 0: at the end.")

    def __post_init__(self) -> None:
        check(self)

    def evaluates(self, step: int) -> bool:
        """Return whether to evaluate after a step that is not the last."""
        return self.eval_every > 0 and step % self.eval_every == 0

    def saves(self, step: int) -> bool:
        """Return whether to save after a step that is not the last."""
        return self.save_every > 0 and step % self.save_every == 0


@dataclass(frozen=True)
class FineTuningSettings:
    """How to fine-tune a classifier. Raises SettingError for a value out of range."""

    epochs: int = option(Integer(3, low=1), "Passes over the training rows.")
    lr: float = option(Number(5e-5, low=0.0, above=True), "Highest learning rate.")
    batch_size: int = option(Integer(16, low=1), "Texts in a batch.")
    max_length: int | None = option(
        Integer(None, low=3),
        "Most tokens of a text; longer texts are cut.",
        default_in_words="128, or the model's maximum if that is less",
    )
    held_out: float = option(HELD_OUT, "Share of the rows to hold out.")
    seed: int = option(
        Integer(0, low=0), "Seed of split, new weights, dropout and order of the rows."
    )

    def __post_init__(self) -> None:
        check(self)
