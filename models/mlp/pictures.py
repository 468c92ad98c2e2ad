"""Pictures of a training run: its loss curve and, for two features, its decision boundary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from twingrad.core.spec import Array
from twingrad.core.trainer import Training
from twingrad.models.mlp.datasets import Rows
from twingrad.models.mlp.training import FittedMlp
from twingrad.models.pictures import BLACK, BLUE, GREY, VERMILION, figure, grid, write

GRID = 300  # points per side at which the model is evaluated
MOST_DOTS = 3000  # of each set; more would only overlap


def draw_loss(training: Training, data_name: str, path: Path) -> None:
    """Draw the loss of the whole training set, and of the held-out set, against the epoch.

    Raises OutputError if the file cannot be written.
    """
    made, axes = figure(6.4, 4.0)
    numbers = [epoch.number for epoch in training.epochs]
    sets = (("loss", "train", BLUE, "-"), ("held_out_loss", "held-out", VERMILION, "--"))
    mark = "o" if len(numbers) == 1 else ""
    for key, label, colour, dashes in sets:
        if key in training.epochs[0].values:
            losses = [epoch.values[key] for epoch in training.epochs]
            axes.plot(
                numbers, losses, dashes, marker=mark, color=colour, linewidth=1.8, label=label
            )
    axes.set_title(f"Loss on {data_name}", loc="left", parse_math=False)
    axes.set_xlabel("epoch")
    axes.set_ylabel("mean binary cross entropy")
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.margins(x=0.01)
    grid(axes)
    axes.legend(frameon=False)
    write(made, path)


def draw_decision(fitted: FittedMlp, path: Path) -> None:
    """Draw the decision regions of a two-feature model with its training points.

    Held-out points have a dark ring; the true boundary is dashed if it is known. Raises
    OutputError if the file cannot be written.
    """
    data = fitted.data
    made, axes = figure(7.2, 5.4)
    x = np.concatenate([data.train.x, data.held_out.x])
    low, high = x.min(axis=0), x.max(axis=0)
    margin = np.where(high > low, 0.05 * (high - low), 1.0)
    low, high = low - margin, high + margin
    first, second = (np.linspace(low[axis], high[axis], GRID) for axis in (0, 1))
    places = np.stack(np.meshgrid(first, second), axis=-1)
    probability = fitted.probabilities(places.reshape(-1, 2)).reshape(GRID, GRID)
    axes.contourf(first, second, probability, levels=[0.0, 0.5, 1.0], colors=["#d6e8f5", "#fbe3d4"])
    if probability.min() < 0.5 < probability.max():
        axes.contour(first, second, probability, levels=[0.5], colors=BLACK, linewidths=1.8)
    axes.plot([], [], color=BLACK, linewidth=1.8, label="model's boundary")
    if data.boundary is not None:
        axes.plot(
            first, data.boundary(first), "--", color=GREY, linewidth=1.6, label="true boundary"
        )
    zero, one = data.label_names
    for rows, held_out in ((data.train, False), (data.held_out, True)):
        _dots(axes, rows, held_out, (zero, one))
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    axes.set_title(_decision_title(fitted), loc="left", parse_math=False)
    axes.set_xlabel(data.feature_names[0], parse_math=False)
    axes.set_ylabel(data.feature_names[1], parse_math=False)
    legend = axes.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, borderaxespad=0.0
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    write(made, path)


def _dots(axes: Any, rows: Rows, held_out: bool, names: tuple[str, str]) -> None:
    shown = slice(None, MOST_DOTS)
    x, target = rows.x[shown], rows.target[shown] > 0.5
    for positive, colour, marker in ((True, VERMILION, "^"), (False, BLUE, "o")):
        chosen: Array = target == positive
        if chosen.any():
            name = names[int(positive)]
            axes.scatter(
                x[chosen, 0],
                x[chosen, 1],
                s=38 if held_out else 22,
                marker=marker,
                color=colour,
                edgecolors=BLACK if held_out else "white",
                linewidths=1.2 if held_out else 0.5,
                label=f"{name}, held-out" if held_out else name,
                zorder=4 if held_out else 3,
            )


def _decision_title(fitted: FittedMlp) -> str:
    parts = [
        f"{name} accuracy {figures.confusion.accuracy:.3f}"
        for name, figures in fitted.figures.items()
    ]
    return f"Decision on {fitted.data.name}: {', '.join(parts)}"
