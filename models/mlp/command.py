"""The commands `twingrad train mlp` and `twingrad predict`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twingrad.core.command_options import takes
from twingrad.core.errors import INTERRUPTED
from twingrad.models.metrics_file import METRICS
from twingrad.models.mlp.settings import DataChoice, MlpSettings
from twingrad.models.terminal import Backend, Device, say, terminal, writable_folder

if TYPE_CHECKING:
    from twingrad.core.trainer import Epoch, Training
    from twingrad.models.mlp.datasets import LabelledData
    from twingrad.models.mlp.training import FittedMlp

# Heavy imports are inside the functions: `twingrad --help` must answer at once.

WRITTEN = ("model.safetensors", METRICS, "loss.png", "decision.png")


@takes(DataChoice, MlpSettings)
def train_mlp(
    *,
    choice: DataChoice,
    settings: MlpSettings,
    backend: Backend = None,
    device: Device = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the checkpoint, metrics and pictures.")
    ] = Path("runs/mlp"),
) -> None:
    """Train a perceptron to tell two classes apart, and say how well it does.

    Writes model.safetensors, metrics.jsonl, loss.png and, for two features, decision.png.
    """
    from twingrad.core.files import OutputError
    from twingrad.core.registry import default_backend
    from twingrad.core.trainer import interruptible
    from twingrad.models.mlp import datasets
    from twingrad.models.mlp.training import check, train

    backend = backend or default_backend()
    check(settings, backend, device)
    loaded = datasets.load(choice, settings.seed)
    console = terminal()
    with writable_folder(out, WRITTEN), interruptible() as interrupted:
        say(console, _introduction(loaded, settings, backend))
        with _progress(settings, len(loaded.train)) as (on_batch, on_epoch):
            fitted = train(
                loaded,
                settings,
                backend=backend,
                device=device,
                on_batch=on_batch,
                on_epoch=on_epoch,
                interrupted=interrupted,
            )
        if not fitted.training.epochs:
            say(console, ["interrupted before the end of the first epoch; nothing is written"])
            raise typer.Exit(INTERRUPTED)
        say(console, [_ending(fitted.training, settings)])
        console.print(_figures_table(fitted))
        written: list[Path] = []
        try:
            for path in _write(fitted, out, lambda line: say(console, [line])):
                written.append(path)
                say(console, [f"wrote {path}"])
        except OutputError as error:
            done = f"; written before: {', '.join(map(str, written))}" if written else ""
            raise OutputError(f"{error}{done}") from None
    if fitted.training.stopped == "interrupted":
        raise typer.Exit(INTERRUPTED)


def predict(
    model: Annotated[
        Path, typer.Option(help="Folder that `twingrad train mlp` wrote, or its checkpoint.")
    ],
    data: Annotated[Path, typer.Option(help="CSV file with the columns of the training data.")],
    out: Annotated[
        Path | None, typer.Option(help="CSV file to write.", show_default="standard output")
    ] = None,
    backend: Backend = None,
    device: Device = None,
) -> None:
    """Predict each row's class with a trained perceptron: row, probability, prediction."""
    from twingrad.core.files import whole_file
    from twingrad.core.registry import default_backend
    from twingrad.models.mlp.prediction import as_csv, choose_columns, load_predictor
    from twingrad.models.tables import read_table, some

    predictor = load_predictor(model, backend or default_backend(), device)
    table = read_table(data)
    x, unused = choose_columns(predictor, table)
    console = terminal(stderr=True)
    if unused:
        say(console, [f"columns not used: {some(unused)}"])
    text = as_csv(predictor, predictor.probabilities(x))
    if out is None:
        typer.echo(text, nl=False)
        return
    with whole_file(out) as file:
        file.write(text.encode())
    say(console, [f"wrote {out}: {len(x)} predictions on {predictor.backend}"])


def _introduction(data: LabelledData, settings: MlpSettings, backend: str) -> list[str]:
    hidden = ", ".join(map(str, settings.hidden)) or "none"
    size = f"{len(data.train)} rows to train on, {len(data.held_out)} held out"
    return [
        f"{data.name}: {size}, {len(data.feature_names)} features",
        *data.notes,
        f"mlp with hidden layers {hidden}, {settings.optimizer}, {settings.dtype}, on {backend}",
    ]


def _ending(training: Training, settings: MlpSettings) -> str:
    count = len(training.epochs)
    done = f"{count} epoch{'s' if count > 1 else ''}"
    if training.stopped == "interrupted":
        return f"interrupted; the model is the one after {done}"
    if training.stopped == "patience":
        return (
            f"stopped after {done}: for {settings.patience} epochs the loss has not fallen by "
            f"{settings.min_delta:g} of its best value"
        )
    return f"trained for {done}"


def _figures_table(fitted: FittedMlp) -> Any:
    from rich.box import SIMPLE
    from rich.markup import escape
    from rich.table import Table

    title = f"positive class: {escape(fitted.data.label_names[1])}"
    table = Table(title=title, title_justify="left", title_style="", box=SIMPLE, pad_edge=False)
    table.add_column("")
    for name in ("rows", "loss", "accuracy", "precision", "recall", "TP", "FP", "TN", "FN"):
        table.add_column(name, justify="right")
    for name, figures in fitted.figures.items():
        counts = figures.confusion
        ratios = (figures.loss, counts.accuracy, counts.precision, counts.recall)
        table.add_row(
            name,
            str(counts.total),
            *(f"{ratio:.4f}" for ratio in ratios),
            str(counts.true_positive),
            str(counts.false_positive),
            str(counts.true_negative),
            str(counts.false_negative),
        )
    return table


def _write(fitted: FittedMlp, out: Path, say: Callable[[str], None]) -> Iterator[Path]:
    """Write the files of a run, and yield each path once it is written."""
    from twingrad.models import pictures as drawing
    from twingrad.models.metrics_file import epoch_lines, write_metrics
    from twingrad.models.mlp import pictures
    from twingrad.models.mlp.prediction import CHECKPOINT
    from twingrad.models.mlp.training import save

    save(fitted, out / CHECKPOINT)
    yield out / CHECKPOINT
    write_metrics(out / METRICS, epoch_lines(fitted.training))
    yield out / METRICS
    loss, decision = out / "loss.png", out / "decision.png"
    reason = drawing.missing()
    if reason is None:
        pictures.draw_loss(fitted.training, fitted.data.name, loss)
        yield loss
        if len(fitted.data.feature_names) == 2:
            pictures.draw_decision(fitted, decision)
            yield decision
            return
    else:
        say(f"no picture: {reason}")
    # A picture of an earlier run beside this run's checkpoint would mislead.
    for path in (loss, decision) if reason else (decision,):
        if path.is_file():
            path.unlink()
            say(f"removed {path}, which showed an earlier run")


@contextmanager
def _progress(
    settings: MlpSettings, rows: int
) -> Iterator[tuple[Callable[[], None], Callable[[Epoch], None]]]:
    """Show a bar with the loss on standard error; yields the callbacks for a batch and an epoch."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    batches = -(-rows // settings.batch_size)
    bar = Progress(
        TextColumn("epoch"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=terminal(stderr=True),
        transient=True,
    )
    task = bar.add_task("", total=settings.epochs)
    steps = 0

    def on_batch() -> None:
        nonlocal steps
        steps += 1
        # Within an epoch only if epochs are long: drawing costs more than a small batch.
        if steps % 100 == 0 and batches > 100:
            bar.update(task, description=f"batch {steps % batches} of {batches}")

    def on_epoch(epoch: Epoch) -> None:
        bar.update(task, advance=1, description=f"loss {epoch.loss:.4f}")

    with bar:
        yield on_batch, on_epoch
