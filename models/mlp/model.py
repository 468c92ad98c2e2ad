"""The model: linear layers with tanh between them, ending in one logit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from twingrad.core.errors import SettingError
from twingrad.core.layers import Linear, Tanh
from twingrad.core.module import Module, Sequential

MOST_PARAMETERS = 100_000_000  # a larger number is most likely a typing error


class MLP(Sequential):
    """Two-class perceptron: x (rows, in_features) -> logits (rows, 1).

    With in_features 2 and hidden (5, 3) it has 37 parameters; with no hidden layer it is logistic
    regression. Raises SettingError for a width that is not an integer of at least 1.
    """

    def __init__(self, in_features: int, hidden: Sequence[int] = (5, 3)) -> None:
        widths = [in_features, *hidden, 1]
        count = sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(widths))
        if count > MOST_PARAMETERS:
            raise SettingError(
                f"must give at most {MOST_PARAMETERS} parameters; got layers of "
                f"{', '.join(map(str, hidden))} on {in_features} features, which give {count}",
                "hidden",
            )
        layers: list[Module] = []
        for fan_in, fan_out in pairwise(widths):
            layers += [Linear(fan_in, fan_out), Tanh()]
        super().__init__(*layers[:-1])
