"""The curve of a pretraining run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twingrad.models.bert.baselines import Baselines
from twingrad.models.pictures import BLUE, GREEN, GREY, VERMILION, figure, grid, write

SMOOTH = 0.02  # share of a step in the running mean of the training loss


def draw_curve(
    metrics: list[dict[str, Any]],
    baselines: Baselines | None,
    path: Path,
    beside: list[dict[str, Any]] | None = None,
) -> None:
    """Draw the loss of the masked tokens against the step: training, held out, and baselines.

    `beside` are the metrics of another run. Raises OutputError if the file cannot be written.
    """
    made, axes = figure(7.2, 4.2)
    judged = [line for line in metrics if "held_out_masked_loss" in line]
    if beside is not None:
        label = "the other run, running mean"
        axes.plot(*_smooth(beside), color=GREEN, linewidth=5.0, alpha=0.35, label=label)
    axes.plot(*_smooth(metrics), color=BLUE, linewidth=1.6, label="this run, running mean")
    if judged:
        axes.plot(
            [line["step"] for line in judged],
            [line["held_out_masked_loss"] for line in judged],
            "o-",
            color=VERMILION,
            markersize=4,
            linewidth=1.4,
            label="held-out documents",
        )
    if baselines is not None:
        for name, value, dashes in (
            ("unigram", baselines.unigram, "--"),
            ("bigram", baselines.bigram, ":"),
        ):
            axes.axhline(value, color=GREY, linestyle=dashes, linewidth=1.2)
            axes.annotate(
                f"{name} {value:.2f}",
                (1.0, value),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                color=GREY,
                fontsize=9,
            )
    axes.set_title("Masked tokens: cross entropy in nats", loc="left")
    axes.set_xlabel("step")
    axes.margins(x=0.01)
    grid(axes)
    axes.legend(frameon=False)
    write(made, path)


def _smooth(metrics: list[dict[str, Any]]) -> tuple[list[int], list[float]]:
    """Return the steps of a run, and the running mean of its loss at each."""
    trained = [line for line in metrics if "masked_loss" in line]
    means, mean, weight = [], 0.0, 0.0
    for line in trained:
        mean += SMOOTH * (line["masked_loss"] - mean)
        weight += SMOOTH * (1 - weight)
        means.append(mean / weight)
    return [line["step"] for line in trained], means
