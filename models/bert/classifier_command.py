"""The commands `twingrad train classifier` and `twingrad classify`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twingrad.core.command_options import takes
from twingrad.core.errors import INTERRUPTED
from twingrad.models.bert.embedding_command import MaxLength, Model, Texts
from twingrad.models.bert.settings import FineTuningSettings
from twingrad.models.terminal import Backend, Device, terminal, writable_folder

if TYPE_CHECKING:
    from twingrad.core.trainer import Epoch
    from twingrad.models.bert.classifier import FittedClassifier

# Heavy imports are inside the functions: `twingrad --help` must answer at once.


@takes(FineTuningSettings)
def train_classifier(
    *,
    model: Model,
    data: Annotated[Path, typer.Option(help="CSV file with a header.")],
    text: Annotated[str, typer.Option(help="Column of the texts.")] = "text",
    text_pair: Annotated[
        str | None, typer.Option(help="Column of the second texts, if texts come in pairs.")
    ] = None,
    label: Annotated[str, typer.Option(help="Column of the labels.")] = "label",
    settings: FineTuningSettings,
    backend: Backend = None,
    device: Device = None,
    out: Annotated[Path, typer.Option(help="Folder for the model and metrics.jsonl.")] = Path(
        "runs/classifier"
    ),
) -> None:
    """Fine-tune a BERT to tell classes of texts apart, and say how well it does.

    Writes a Hugging Face folder (BertForSequenceClassification) and metrics.jsonl.
    """
    from twingrad.core.registry import default_backend
    from twingrad.core.trainer import interruptible
    from twingrad.models.bert import huggingface
    from twingrad.models.bert.classifier import fine_tune, read_labelled_texts
    from twingrad.models.bert.folder import open_weights
    from twingrad.models.metrics_file import METRICS, epoch_lines, write_metrics

    backend = backend or default_backend()
    examples = read_labelled_texts(data, text, label, text_pair)
    weights, tokenizer = open_weights(model)
    huggingface.check_form(weights.config)  # fail before training, not when the result is saved
    names = (huggingface.CONFIG, huggingface.ARRAYS, METRICS)
    with writable_folder(out, names), interruptible() as interrupted:
        typer.echo(f"{data}: {len(examples.texts)} texts of {len(examples.labels)} classes")
        if not weights.config.pooler:
            typer.echo("the encoder has no pooler; a new one is trained as well")
        with _progress(settings.epochs, -(-len(examples.texts) // settings.batch_size)) as tell:
            fitted = fine_tune(
                weights,
                tokenizer,
                examples,
                settings,
                backend=backend,
                device=device,
                on_batch=tell[0],
                on_epoch=tell[1],
                interrupted=interrupted,
            )
        if not fitted.training.epochs:
            typer.echo("interrupted before the end of the first epoch; nothing is written")
            raise typer.Exit(INTERRUPTED)
        typer.echo(_ending(fitted, backend))
        huggingface.save_model(fitted.model, tokenizer, out, examples.labels)
        write_metrics(out / METRICS, epoch_lines(fitted.training))
        typer.echo(f"wrote {out}")
    if fitted.training.stopped == "interrupted":
        raise typer.Exit(INTERRUPTED)


def classify(
    model: Model,
    input: Texts,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Lines are pairs of texts: A<TAB>B.")
    ] = False,
    batch_size: Annotated[int, typer.Option(help="Texts in a batch.")] = 32,
    max_length: MaxLength = None,
    backend: Backend = None,
    device: Device = None,
) -> None:
    """Print the likeliest label of each line of text: LABEL<TAB>PROBABILITY."""
    from twingrad.core.errors import DataError
    from twingrad.models.bert.classifier import class_logits, class_probabilities
    from twingrad.models.bert.folder import open_weights
    from twingrad.models.bert.texts import check_batch_size, checked_length, encode, read_texts

    check_batch_size(batch_size)
    texts, seconds = read_texts(input), None
    if pairs:
        columns = [line.split("\t") for line in texts]
        for number, parts in enumerate(columns, start=1):
            if len(parts) != 2:
                raise DataError(
                    f"{input}: line {number}: it must be a pair A<TAB>B with exactly one tab; got "
                    f"{len(parts) - 1} tabs"
                )
        texts, seconds = ([parts[side] for parts in columns] for side in (0, 1))
    weights, tokenizer = open_weights(model)
    bert = weights.model("classification", backend, device=device)
    encoded = encode(tokenizer, texts, seconds, checked_length(max_length, bert.config))
    logits = class_logits(bert, encoded, tokenizer.pad_id, batch_size)
    for row in class_probabilities(logits):
        typer.echo(f"{weights.labels[row.argmax()]}\t{row.max():.4f}")


def _ending(fitted: FittedClassifier, backend: str) -> str:
    count = len(fitted.training.epochs)
    done = f"{count} epoch{'s' if count > 1 else ''} on {backend}"
    if fitted.training.stopped == "interrupted":
        done = f"interrupted; the model is the one after {done}"
    else:
        done = f"trained for {done}"
    train, held_out = fitted.rows
    if not held_out:
        return f"{done} with {train} texts; none were held out"
    return (
        f"{done} with {train} texts; accuracy on {held_out} held out: {fitted.accuracy:.4f} "
        f"(always the commonest class: {fitted.majority:.4f})"
    )


@contextmanager
def _progress(
    epochs: int, batches: int
) -> Iterator[tuple[Callable[[], None], Callable[[Epoch], None]]]:
    """Show a bar on standard error; yields the callbacks for a batch and an epoch."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal(stderr=True), transient=True) as bar:
        task = bar.add_task("training", total=epochs * batches)

        def on_epoch(epoch: Epoch) -> None:
            values = ", ".join(f"{name} {value:.4f}" for name, value in epoch.values.items())
            bar.update(task, completed=epoch.number * batches)
            bar.stop()
            typer.echo(f"epoch {epoch.number}: {values.replace('_', ' ')}")
            bar.start()

        yield lambda: bar.advance(task), on_epoch
