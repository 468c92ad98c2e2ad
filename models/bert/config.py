"""The shape of a BERT: every size, and every choice in which the published forms differ."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from twingrad.core.errors import SettingError

# Hidden size, layers, heads; the feed-forward part is four times as wide (Turc et al. 2019).
SIZES = {
    "tiny": (128, 2, 2),
    "mini": (256, 4, 4),
    "small": (512, 4, 8),
    "medium": (512, 8, 8),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
}
CHOICES = {
    "norm": ("post", "pre"),
    "gelu": ("none", "tanh"),
    "position": ("learned", "sinusoidal"),
}


@dataclass(frozen=True)
class BertConfig:
    """The shape of a BERT; the defaults are BERT-base's (Devlin et al. 2019).

    Raises SettingError for a value out of range, or sizes that do not go together.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    layers: int = 12
    heads: int = 12
    intermediate_size: int = 3072  # width of the feed-forward part
    max_positions: int = 512
    segments: int = 2
    pad_id: int = 0
    gelu: str = "none"  # exact, or its approximation by a tanh
    norm: str = "post"  # after each sum (Vaswani et al. 2017), or before each part
    closing_norm: bool = False  # after the last block, which a pre-norm stack needs
    embedding_norm: bool = True
    position: str = "learned"
    pooler: bool = True  # a layer before the next-sentence head
    transform: bool = True  # a layer before the decoder of the masked tokens
    tied: bool = True  # the decoder's weight is the embedding's
    dropout: float = 0.1
    attention_dropout: float = 0.1
    classifier_dropout: float | None = None  # before the classifier of texts; None: dropout
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02  # standard deviation of the first weights

    def __post_init__(self) -> None:
        for name in ("vocab_size", "hidden_size", "heads", "intermediate_size", "max_positions"):
            _integer(name, getattr(self, name), 1)
        for name, least in (("layers", 0), ("segments", 1), ("pad_id", 0)):
            _integer(name, getattr(self, name), least)
        for name, options in CHOICES.items():
            if getattr(self, name) not in options:
                raise SettingError(
                    f"must be {' or '.join(options)}; got {getattr(self, name)!r}", name
                )
        for name in ("dropout", "attention_dropout", "classifier_dropout"):
            p = getattr(self, name)
            if p is None and name == "classifier_dropout":
                continue
            if not 0 <= p < 1:
                raise SettingError(f"must be a number in [0, 1); got {p!r}", name)
        for name in ("layer_norm_eps", "initializer_range"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise SettingError(f"must be a number >= 0; got {value!r}", name)
        if self.hidden_size % self.heads:
            raise SettingError(
                f"must divide hidden_size = {self.hidden_size}; got {self.heads}", "heads"
            )
        if self.position == "sinusoidal" and self.hidden_size % 2:
            raise SettingError(
                f"must be even for sinusoidal positions; got {self.hidden_size}", "hidden_size"
            )
        if self.pad_id >= self.vocab_size:
            raise SettingError(
                f"must be below vocab_size = {self.vocab_size}; got {self.pad_id}", "pad_id"
            )

    @classmethod
    def google(cls, size: str, **changes: Any) -> BertConfig:
        """Return the released form in one of its sizes, such as "base"; with `changes`."""
        if size not in SIZES:
            raise SettingError(f"must be one of {', '.join(SIZES)}; got {size!r}", "size")
        hidden, layers, heads = SIZES[size]
        sizes = {"hidden_size": hidden, "layers": layers, "heads": heads}
        return replace(cls(), **{**sizes, "intermediate_size": 4 * hidden, **changes})

    @classmethod
    def teaching(cls, **changes: Any) -> BertConfig:
        """Return the form of BERT-pytorch: pre-norm, sinusoids, plain heads.

        It has a norm after the last block, which is missing there.
        """
        form = cls(
            hidden_size=256,
            layers=8,
            heads=8,
            intermediate_size=1024,
            segments=3,
            gelu="tanh",
            norm="pre",
            closing_norm=True,
            embedding_norm=False,
            position="sinusoidal",
            pooler=False,
            transform=False,
            tied=False,
            layer_norm_eps=1e-6,
        )
        return replace(form, **changes)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BertConfig:
        """Return the config that `to_dict` wrote; raise SettingError for a key it does not know."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise SettingError(
                f"unknown config key {unknown[0]!r}: expected one of {sorted(known)}"
            )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return every value by its name, as JSON can hold it."""
        return asdict(self)


def _integer(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SettingError(f"must be an integer >= {least}; got {value!r}", name)
