"""The data: scikit-learn's breast cancer table, points around a curve, or a CSV file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from twingrad.core.errors import DataError, SettingError, UnknownNameError
from twingrad.core.random import generator
from twingrad.core.spec import Array
from twingrad.models.mlp.tables import read_labels, read_table

BUILT_IN = ("breast-cancer", "points")
POINTS = 175  # training points, of which NOISE are labelled against the rule
NOISE = Fraction(10, 175)
# 30 correlated features, 455 rows: held-out accuracy is 0.974 over 60 splits (with 0.01: 0.964).
BREAST_CANCER_WEIGHT_DECAY = 2.0
LOW, HIGH = -300, 400  # hundredths of x
OFFSET, MARGIN = 5.0, 0.8  # how far from the curve a point can be, and how near


@dataclass(frozen=True)
class Rows:
    """Examples: x (rows, features) in the data's own units, target (rows) in [0, 1], float64."""

    x: Array
    target: Array

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class LabelledData:
    """What is known of a data set: the examples to train on, those held out, and all names.

    `held_out` may be empty. `label_names` are those of class 0 and class 1. `boundary` is the
    true one, if it is known: the second feature as a function of the first.
    """

    name: str
    train: Rows
    held_out: Rows
    feature_names: tuple[str, ...]
    label_names: tuple[str, str]
    notes: tuple[str, ...] = ()
    boundary: Callable[[Array], Array] | None = None
    weight_decay: float = 0.01  # AdamW's, where none is asked for; 0.01 is torch's default


def curve(x: Array) -> Array:
    """Return y = x sin(x) + x, the boundary of the points."""
    y: Array = x * np.sin(x) + x
    return y


def points(
    count: int = POINTS, noise: Fraction = NOISE, held_out: float = 0.2, seed: int = 0
) -> LabelledData:
    """Return points above (label 1) and below (0) the curve y = x sin(x) + x, x in [-3, 4).

    No point is nearer to the curve than MARGIN, in y. Exactly round(noise * count) of the `count`
    training labels are flipped; the held-out points, drawn beside them to make up their share of
    all, keep the rule's labels. Raises SettingError.
    """
    if count < 2:
        raise SettingError(f"--points must be an integer >= 2; got {count}")
    if not 0 <= noise <= 1:
        raise SettingError(f"--noise must be a share in [0, 1]; got {noise}")
    share = checked_share(held_out)
    total = round(count / (1 - share))
    rng = generator(seed, "points")
    x = rng.integers(LOW, HIGH, total) / 100
    offset = rng.uniform(MARGIN, OFFSET, total) * rng.choice([-1.0, 1.0], total)
    y = np.round(curve(x) + offset, 2)
    label = (offset > 0).astype(np.float64)
    flipped = rng.choice(count, round(noise * count), replace=False)
    label[flipped] = 1 - label[flipped]
    features = np.stack([x, y], axis=1)
    note = (
        f"{len(flipped)} of {count} training labels are flipped, so a model that learns the rule "
        f"gets {1 - len(flipped) / count:.4f} of them; no held-out label is"
    )
    return LabelledData(
        name="points",
        train=Rows(features[:count], label[:count]),
        held_out=Rows(features[count:], label[count:]),
        feature_names=("x", "y"),
        label_names=("below", "above"),
        notes=(note,),
        boundary=curve,
    )


def breast_cancer(held_out: float = 0.2, seed: int = 0) -> LabelledData:
    """Return scikit-learn's bundled Wisconsin data: 569 tumours, 30 measurements of each.

    Raises DataError if scikit-learn is not installed.
    """
    if find_spec("sklearn") is None:
        raise DataError(
            "breast-cancer is scikit-learn's data, and it is not installed; "
            "install it with: pip install 'twingrad[data]'"
        )
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    rows = Rows(
        np.asarray(bunch.data, dtype=np.float64), np.asarray(bunch.target, dtype=np.float64)
    )
    train, held = stratified_split(rows, held_out, seed)
    zero, one = (str(name) for name in bunch.target_names)
    names = tuple(str(name) for name in bunch.feature_names)
    return LabelledData(
        "breast-cancer", train, held, names, (zero, one), weight_decay=BREAST_CANCER_WEIGHT_DECAY
    )


def csv_file(
    path: Path, label: str = "label", held_out: float = 0.2, seed: int = 0
) -> LabelledData:
    """Return a CSV file's rows: the column `label` as the target, all others as features.

    Raises DataError for anything in the file that cannot be used as it is.
    """
    table = read_table(path)
    labels = read_labels(table, label)
    names = tuple(name for name in table.columns if name != label)
    if not names:
        raise DataError(f"{path}: there is no column beside the label {label!r} to learn from")
    rows = Rows(table.numbers(names), labels.target)
    train, held = stratified_split(rows, held_out, seed)
    note = f"label {label!r}: {labels.names[0]!r} is class 0, {labels.names[1]!r} is class 1"
    if labels.soft:
        note = f"label {label!r}: soft targets in [0, 1]; above 0.5 counts as class 1"
    return LabelledData(str(path), train, held, names, labels.names, (note,))


def load(
    name: str,
    *,
    label: str | None = None,
    count: int | None = None,
    noise: Fraction | None = None,
    held_out: float = 0.2,
    seed: int = 0,
) -> LabelledData:
    """Return the data set called `name`, or the CSV file there.

    Raises UnknownNameError for a name that is neither, SettingError for a setting of another data
    set, DataError for data that cannot be used.
    """
    if name != "points" and (count is not None or noise is not None):
        raise SettingError(f"--points and --noise belong to --data points; got --data {name}")
    if name in BUILT_IN and label is not None:
        raise SettingError(f"--label belongs to a CSV file; got --data {name}")
    if name == "points":
        return points(
            POINTS if count is None else count, NOISE if noise is None else noise, held_out, seed
        )
    if name == "breast-cancer":
        return breast_cancer(held_out, seed)
    path = Path(name)
    if path.suffix.lower() != ".csv" and not path.exists():
        raise UnknownNameError("data set", name, [*BUILT_IN, "FILE.csv"])
    return csv_file(path, "label" if label is None else label, held_out, seed)


def stratified_split(rows: Rows, held_out: float, seed: int) -> tuple[Rows, Rows]:
    """Return rows to train on and rows held out, each class shared out alike.

    The same seed gives the same split; every class keeps a row to train on. Raises SettingError
    for a share outside [0, 1), DataError if there are too few rows to hold any out.
    """
    train, held = split_classes(rows.target > 0.5, held_out, seed)
    return Rows(rows.x[train], rows.target[train]), Rows(rows.x[held], rows.target[held])


def split_classes(classes: Array, held_out: float, seed: int) -> tuple[Array, Array]:
    """Return the numbers of the rows to train on and of those held out, each class shared alike.

    Shape: classes (rows), of any values. Raises what `stratified_split` does.
    """
    share = checked_share(held_out)
    rng = generator(seed, "split")
    parts: tuple[list[Array], list[Array]] = ([], [])
    for value in np.unique(classes):
        members = rng.permutation(np.flatnonzero(classes == value))
        count = min(round(share * len(members)), max(len(members) - 1, 0))
        parts[1].append(members[:count])
        parts[0].append(members[count:])
    train, held = (np.sort(np.concatenate(part)) for part in parts)
    if share > 0 and len(held) == 0:
        raise DataError(
            f"{len(classes)} rows are too few to hold out {held_out:g} of them; "
            f"give more rows, or --held-out 0"
        )
    return train, held


def checked_share(held_out: float) -> Fraction:
    """Return the held-out share as a fraction; raise SettingError unless it is in [0, 1)."""
    if not 0 <= held_out < 1:
        raise SettingError(f"--held-out must be a share in [0, 1); got {held_out:g}")
    return Fraction(str(held_out))


def parse_share(option: str, text: str) -> Fraction:
    """Return a share written as 10/175 or as 0.05; raise SettingError for anything else."""
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise SettingError(
            f"{option} must be a share such as 10/175 or 0.05; got {text!r}"
        ) from None
