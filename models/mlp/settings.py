"""Settings of the perceptron: its data and its training, which `train mlp` takes as options."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from twingrad.core.command_options import check, option
from twingrad.core.errors import SettingError
from twingrad.core.spec import Choice, Integer, Number
from twingrad.models.splits import HELD_OUT

BUILT_IN = ("breast-cancer", "points")
POINTS = 175  # training points; a share NOISE of them have their label flipped
NOISE = Fraction(10, 175)
LABEL = "label"
DTYPES = ("float32", "float64")
LEARNING_RATES = {"adamw": 0.01, "sgd": 0.1}


def parse_share(text: str) -> Fraction:
    """Return a share written as 10/175 or as 0.05; raise SettingError for anything else."""
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise SettingError(
            f"must be a share such as 10/175 or 0.05; got {text!r}", "noise"
        ) from None


def parse_hidden(text: str) -> tuple[int, ...]:
    """Return the widths in text such as "5,3"; an empty text means no hidden layer.

    Raises SettingError.
    """
    if not text.strip():
        return ()
    widths = []
    for part in text.split(","):
        digits = part.strip()
        # Up to 9 digits: int() itself refuses thousands of them.
        if not (digits.isascii() and digits.isdigit() and len(digits) < 10 and int(digits) >= 1):
            raise SettingError(
                f"must be widths >= 1 separated by commas, such as 5,3; got {text!r}",
                "hidden",
            )
        widths.append(int(digits))
    return tuple(widths)


@dataclass(frozen=True)
class DataChoice:
    """Which data set, and how much of it is held out.

    Raises SettingError for values that do not go together.
    """

    data: str = option(BUILT_IN[0], "Data: breast-cancer, points, or a CSV file with a header.")
    label: str | None = option(None, "Label column of a CSV file.", default_in_words=LABEL)
    points: int | None = option(
        Integer(None, low=2), "Training points of --data points.", default_in_words=str(POINTS)
    )
    noise: Fraction | None = option(
        None,
        "Share of the training labels of --data points to flip.",
        read=parse_share,
        default_in_words="10/175",
    )
    held_out: float = option(HELD_OUT, "Share of the rows to hold out.")

    def __post_init__(self) -> None:
        check(self)
        for name in ("points", "noise"):
            if getattr(self, name) is not None and self.data != "points":
                raise SettingError(f"is only for data 'points'; got data {self.data!r}", name)
        if self.label is not None and self.data in BUILT_IN:
            raise SettingError(f"is only for a CSV file; got data {self.data!r}", "label")


@dataclass(frozen=True)
class MlpSettings:
    """How to train a perceptron. Raises SettingError for a value out of range.

    None for `lr` or `weight_decay` means the default of the optimizer and the data.
    """

    hidden: tuple[int, ...] = option(
        (5, 3),
        "Widths of the hidden layers; '' for none.",
        read=parse_hidden,
        write=lambda widths: ",".join(map(str, widths)),
    )
    optimizer: str = option(Choice("adamw", tuple(LEARNING_RATES)), "Optimizer: adamw or sgd.")
    lr: float | None = option(
        Number(None, low=0.0), "Learning rate.", default_in_words="0.01 with adamw, 0.1 with sgd"
    )
    weight_decay: float | None = option(
        Number(None, low=0.0),
        "Weight decay.",
        default_in_words="adamw: 2 for breast-cancer, else 0.01; sgd: 0",
    )
    momentum: float | None = option(Number(None, low=0.0), "Momentum of sgd.", default_in_words="0")
    epochs: int = option(Integer(1000, low=1), "Maximum number of passes over the training rows.")
    patience: int = option(
        Integer(30, low=1),
        "Stop after this many epochs without a better loss on the whole training set.",
    )
    min_delta: float = option(
        Number(1e-3, low=0.0, high=1.0, below=True),
        "Relative improvement that makes a loss better than the best so far.",
    )
    batch_size: int = option(Integer(32, low=1), "Rows in a batch.")
    seed: int = option(
        Integer(0, low=0), "Seed of points, split, first weights and order of the rows."
    )
    dtype: str = option(Choice("float32", DTYPES), "Numbers to compute in: float32 or float64.")

    def __post_init__(self) -> None:
        check(self)
        if self.momentum is not None and self.optimizer != "sgd":
            raise SettingError(
                f"is only for optimizer 'sgd'; got optimizer {self.optimizer!r}", "momentum"
            )
