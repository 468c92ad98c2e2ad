"""What `twingrad train bert` prints and draws about a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from twingrad.models.bert.baselines import Baselines
from twingrad.models.bert.pretraining import PretrainingRun
from twingrad.models.bert.pretraining_data import PretrainingData
from twingrad.models.bert.token_file import TokenFile
from twingrad.models.terminal import terminal


def introduction(
    run: PretrainingRun,
    tokens: TokenFile,
    train: PretrainingData,
    judged: PretrainingData | None,
    baseline: Baselines | None,
) -> list[str]:
    """Return lines on the model, its data, and the baseline that it has to beat."""
    config, settings = run.config, run.settings
    count = sum(int(np.prod(parameter.shape)) for parameter in run.model.parameters())
    text = f"{len(tokens):,} documents, {tokens.token_count:,} tokens"
    epoch = f"{len(train):,} batches of {settings.batch_size} x {settings.seq_len}"
    shape = f"{config.layers} blocks, width {config.hidden_size}, {config.heads} heads"
    sizes = f"vocabulary {config.vocab_size:,}: {count:,} parameters"
    lines = [
        f"{text}; an epoch is {epoch}",
        f"bert of {shape}, {sizes}, {settings.dtype}, on {run.backend}",
    ]
    if baseline is not None and judged is not None:
        guess = f"{baseline.unigram:.3f} nats (unigram), {baseline.bigram:.3f} (bigram)"
        lines.append(
            f"held out: {judged.examples:,} examples; word counts alone lose {guess} per token"
        )
    if run.step:
        lines.append(f"resumed after step {run.step}")
    return lines


def ending(run: PretrainingRun) -> list[str]:
    """Return lines on how far training got, how fast, and how well."""
    done = f"{run.step} of {run.settings.steps} steps"
    is_done = run.step == run.settings.steps
    lines = [f"{'trained for' if is_done else 'stopped after'} {done}"]
    steps = [line for line in run.metrics if "data_share" in line]
    if steps:
        share = sum(line["data_share"] for line in steps) / len(steps)
        speed = sorted(line["tokens_per_second"] for line in steps)[len(steps) // 2]
        lines.append(
            f"{speed:,.0f} tokens/s (median); making batches took {100 * share:.1f} % of the time"
        )
    judged = [line for line in run.metrics if "held_out_masked_loss" in line]
    if judged:
        last = judged[-1]
        loss, perplexity = last["held_out_masked_loss"], last["held_out_perplexity"]
        masked, follows = (100 * last[f"held_out_{what}_accuracy"] for what in ("masked", "next"))
        lines.append(
            f"held out at step {last['step']}: masked tokens {loss:.3f} nats (perplexity "
            f"{perplexity:.1f}), {masked:.1f} % right; next sentence {follows:.1f} % right"
        )
    return lines


def draw(
    run: PretrainingRun,
    baseline: Baselines | None,
    path: Path,
    beside: list[dict[str, Any]] | None,
) -> str | None:
    """Draw the curve of a run, if it has one; return why there is no picture, or None."""
    from twingrad.models.bert.pictures import draw_curve
    from twingrad.models.pictures import missing

    reason = missing()
    if reason is None and any("masked_loss" in line for line in run.metrics):
        draw_curve(run.metrics, baseline, path, beside)
    return reason


@contextmanager
def progress(run: PretrainingRun) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Show a bar on standard error; yields the callback for each line of metrics."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=terminal(stderr=True),
        transient=True,
    )
    task = bar.add_task("", total=run.settings.steps, completed=run.step)

    def show(line: dict[str, Any]) -> None:
        if "loss" in line:
            words = f"loss {line['loss']:.3f}, {line['tokens_per_second']:,.0f} tokens/s"
            bar.update(task, completed=line["step"], description=words)
        else:
            words = (
                f"step {line['step']}: held out {line['held_out_masked_loss']:.3f} nats, next "
                f"sentence {100 * line['held_out_next_accuracy']:.1f} %"
            )
            bar.console.print(words)

    with bar:
        yield show
