"""The command `twingrad train bert`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twingrad.core.command_options import Given, check_changes, takes
from twingrad.core.errors import INTERRUPTED, DataError, SettingError
from twingrad.models.bert.corpus import CorpusSource
from twingrad.models.bert.settings import ModelShape, Pauses, PretrainingSettings
from twingrad.models.metrics_file import METRICS
from twingrad.models.terminal import Backend, Device, say, terminal, writable_folder

if TYPE_CHECKING:
    from twingrad.models.bert.baselines import Baselines
    from twingrad.models.bert.pretraining import PretrainingRun
    from twingrad.models.bert.pretraining_data import PretrainingData
    from twingrad.models.bert.token_file import TokenFile
    from twingrad.models.bert.tokenizer import Tokenizer

# Heavy imports are inside the functions: `twingrad --help` must answer at once.

TOKENS, TOKENIZER, PICTURE = "tokens", "tokenizer.json", "curve.png"
JUDGED = 40  # most batches of held-out documents that an evaluation uses


@takes(CorpusSource, ModelShape, PretrainingSettings, Pauses)
def train_bert(
    *,
    source: CorpusSource,
    tokenizer: Annotated[
        Path | None, typer.Option(help="tokenizer.json or vocab.txt, see `twingrad vocab`.")
    ] = None,
    shape: Given[ModelShape],
    pretraining: Given[PretrainingSettings],
    backend: Backend = None,
    device: Device = None,
    compiled: Annotated[bool, typer.Option("--compile", help="torch.compile the model.")] = False,
    pauses: Pauses,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write to.", show_default="runs/bert, or that of --resume"),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Continue the run in this folder, on either backend.")
    ] = None,
    beside: Annotated[
        Path | None, typer.Option(help="Also draw the curve of the run in this folder.")
    ] = None,
) -> None:
    """Pretrain a BERT on text: masked tokens and next sentences, on either backend.

    Writes model.safetensors, tokenizer.json, metrics.jsonl, curve.png and the folder tokens.
    """
    from twingrad.core.registry import default_backend, load_backend
    from twingrad.core.trainer import interruptible
    from twingrad.models.bert import pretraining_report as report
    from twingrad.models.bert.pretraining import CHECKPOINT, save
    from twingrad.models.metrics_file import read_metrics, write_metrics

    console = terminal()
    if beside is not None and not (beside / METRICS).is_file():
        raise DataError(f"--beside {beside}: there is no {METRICS} in it")
    if resume is not None:
        check_changes(ModelShape, shape.values)
        check_changes(PretrainingSettings, pretraining.values)
        resume = resume.parent if resume.suffix == ".safetensors" else resume
    elif not source.corpus and not source.demo_corpus:
        raise SettingError("give a text with --corpus FILE, or --demo-corpus")
    elif tokenizer is None:
        raise SettingError("give --tokenizer FILE; `twingrad vocab` makes one")
    backend = backend or default_backend()
    folder = out or resume or Path("runs/bert")
    names = (CHECKPOINT, METRICS, TOKENIZER, PICTURE)
    with writable_folder(folder, names), interruptible() as interrupted:
        if resume is not None:
            run, words = _resumed(resume, tokenizer, pretraining, backend, device)
        else:
            assert tokenizer is not None
            run, words = _started(tokenizer, shape, pretraining, backend, device)
        forward = load_backend(backend).compiled(run.model) if compiled else None
        tokens = _tokens(folder, resume, source, words)
        train, judged = _data(run, tokens, words)
        baseline = _baselines(tokens, run, judged, words)
        say(console, report.introduction(run, tokens, train, judged, baseline))
        words.save(folder / TOKENIZER)
        write_metrics(folder / METRICS, run.metrics)
        _loop(run, train, judged, forward, folder, pauses, interrupted)
        save(run, folder)
        say(console, report.ending(run))
        other = None if beside is None else read_metrics(beside / METRICS, run.step)
        reason = report.draw(run, baseline, folder / PICTURE, other)
        say(console, [] if reason is None else [f"no picture: {reason}"])
        say(console, [f"wrote {folder / CHECKPOINT}"])
        if run.step < run.settings.steps:
            say(console, [f"continue with: twingrad train bert --resume {folder}"])
    if interrupted():
        raise typer.Exit(INTERRUPTED)


def _started(
    tokenizer: Path,
    shape: Given[ModelShape],
    pretraining: Given[PretrainingSettings],
    backend: str,
    device: str | None,
) -> tuple[PretrainingRun, Tokenizer]:
    """Return a run at its first step, and its tokenizer."""
    from twingrad.models.bert.pretraining import start
    from twingrad.models.bert.tokenizer import Tokenizer

    settings, form = pretraining.made(), shape.made()
    words = Tokenizer.load(tokenizer)
    config = form.config(len(words), words.pad_id, settings.seq_len)
    return start(config, settings, words.fingerprint, backend, device), words


def _resumed(
    folder: Path,
    tokenizer: Path | None,
    pretraining: Given[PretrainingSettings],
    backend: str,
    device: str | None,
) -> tuple[PretrainingRun, Tokenizer]:
    """Return the run in a folder, ready to continue, and its tokenizer."""
    from twingrad.models.bert.pretraining import CHECKPOINT, resume
    from twingrad.models.bert.tokenizer import Tokenizer
    from twingrad.models.metrics_file import read_metrics

    run = resume(folder / CHECKPOINT, backend, device, **pretraining.values)
    path = tokenizer or folder / TOKENIZER
    words = Tokenizer.load(path)
    if words.fingerprint != run.tokenizer:
        raise SettingError(
            f"must be the one that the run began with; {path} is a different one", "tokenizer"
        )
    run.metrics = read_metrics(folder / METRICS, run.step)
    return run, words


def _tokens(
    folder: Path, resume: Path | None, source: CorpusSource, tokenizer: Tokenizer
) -> TokenFile:
    """Return the corpus as tokens: those saved with the run, or new ones made from the text."""
    from twingrad.models.bert.token_file import TokenFile

    if resume is None or source.corpus or source.demo_corpus:
        return TokenFile.build(folder / TOKENS, source.documents(), tokenizer)
    beside = resume / TOKENS
    tokens = TokenFile.load(beside, tokenizer)
    if beside.resolve() != (folder / TOKENS).resolve():
        TokenFile.copy(beside, folder / TOKENS)
    return tokens


def _data(
    run: PretrainingRun, tokens: TokenFile, tokenizer: Tokenizer
) -> tuple[PretrainingData, PretrainingData | None]:
    """Return examples of the documents to train on, and of those held out, if there are any."""
    from twingrad.models.bert.pretraining_data import PretrainingData

    settings = run.settings
    train, held_out = tokens.split(settings.held_out, settings.seed)
    shape = (settings.seq_len, settings.batch_size)
    examples = PretrainingData(train, tokenizer, *shape, settings.seed, settings.masking)
    if not len(held_out):
        return examples, None
    # Stored masks, so that every evaluation has the same examples.
    return examples, PretrainingData(held_out, tokenizer, *shape, settings.seed + 1, "stored")


def _baselines(
    tokens: TokenFile, run: PretrainingRun, judged: PretrainingData | None, tokenizer: Tokenizer
) -> Baselines | None:
    from twingrad.models.bert.baselines import baselines

    if judged is None:
        return None
    train, _ = tokens.split(run.settings.held_out, run.settings.seed)
    batches = (judged.batch(number) for number in range(min(JUDGED, len(judged))))
    return baselines(train, len(tokenizer), batches)


def _loop(
    run: PretrainingRun,
    train: PretrainingData,
    judged: PretrainingData | None,
    forward: Callable[..., Any] | None,
    folder: Path,
    pauses: Pauses,
    interrupted: Callable[[], bool],
) -> None:
    """Train to the end, or until Ctrl-C; evaluate and save on the way."""
    from twingrad.core.files import appending
    from twingrad.models.bert import pretraining
    from twingrad.models.bert.pretraining_report import progress

    last = min(pauses.stop_at or run.settings.steps, run.settings.steps)
    with progress(run) as show, appending(folder / METRICS) as append:

        def record(line: dict[str, Any]) -> None:
            run.metrics.append(line)
            append(line)
            show(line)

        for line in pretraining.train(run, train, until=last, forward=forward):
            record(line)
            is_last = run.step == last
            if judged is not None and (is_last or pauses.evaluates(run.step)):
                record(pretraining.evaluate(run, judged, JUDGED, forward))
            if pauses.saves(run.step) and not is_last:
                pretraining.save(run, folder)
            if interrupted():
                break
