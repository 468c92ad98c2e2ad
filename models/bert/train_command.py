"""The command `twingrad train bert`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twingrad.core.errors import INTERRUPTED, DataError, SettingError
from twingrad.models.terminal import Backend, Device, say, terminal, writable_folder

if TYPE_CHECKING:
    from twingrad.models.bert.baselines import Baselines
    from twingrad.models.bert.config import BertConfig
    from twingrad.models.bert.pretraining import Run
    from twingrad.models.bert.pretraining_data import PretrainingData, TokenFile
    from twingrad.models.bert.tokenizer import Tokenizer

# What is heavy is imported inside the functions: `twingrad --help` must answer at once.

TOKENS, TOKENIZER, PICTURE = "tokens", "tokenizer.json", "curve.png"
# What a run keeps to its end, besides the shape of its model: which examples each step sees, and
# what it draws.
FIXED = ("seq_len", "batch_size", "accumulate", "masking", "held_out", "seed", "native_random")
JUDGED = 40  # batches of held-out documents that an evaluation looks at, at most


def train_bert(
    corpus: Annotated[
        list[Path] | None,
        typer.Option(help="Text: a sentence a line, a blank line between documents; or TSV pairs."),
    ] = None,
    demo_corpus: Annotated[
        bool, typer.Option("--demo-corpus", help="The texts that come with Python and NumPy.")
    ] = False,
    encoding: Annotated[str, typer.Option(help="Encoding of the corpus files.")] = "utf-8",
    tokenizer: Annotated[
        Path | None, typer.Option(help="tokenizer.json or vocab.txt, see `twingrad vocab`.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="tiny, mini, small, medium, base or large.", show_default="tiny"),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            help="google: BERT as released; teaching: pre-norm, sinusoids, plain heads.",
            show_default="google",
        ),
    ] = None,
    hidden: Annotated[
        int | None, typer.Option(help="Width of the model.", show_default="by --size")
    ] = None,
    layers: Annotated[
        int | None, typer.Option(help="Number of blocks.", show_default="by --size")
    ] = None,
    heads: Annotated[
        int | None, typer.Option(help="Attention heads.", show_default="by --size")
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(help="Dropout, of attention too.", show_default="0.1")
    ] = None,
    seq_len: Annotated[
        int | None, typer.Option(help="Tokens of an example.", show_default="128")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Examples at once.", show_default="32")
    ] = None,
    accumulate: Annotated[
        int | None, typer.Option(help="Batches that make one step.", show_default="1")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Optimizer steps in all.", show_default="1000")
    ] = None,
    stop_at: Annotated[
        int | None,
        typer.Option(help="Stop after this step, to go on later.", show_default="the last"),
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Highest learning rate.", show_default="0.0001")
    ] = None,
    warmup: Annotated[
        float | None,
        typer.Option(help="Steps, or a share of them below 1, to warm up.", show_default="0.1"),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(help="linear, cosine, noam or constant.", show_default="linear"),
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(help="Decay of matrices; biases and norms have none.", show_default="0.01"),
    ] = None,
    clip: Annotated[
        float | None, typer.Option(help="Largest gradient norm; 0: any.", show_default="1")
    ] = None,
    masking: Annotated[
        str | None,
        typer.Option(
            help="dynamic: anew each epoch; stored: always the same.", show_default="dynamic"
        ),
    ] = None,
    held_out: Annotated[
        float | None, typer.Option(help="Share of the documents to hold out.", show_default="0.1")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of weights, split and all draws.", show_default="0")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32, float64, or bfloat16 on torch.", show_default="float32"),
    ] = None,
    native_random: Annotated[
        bool, typer.Option("--native-random", help="Dropout by the backend's own generator.")
    ] = False,
    recompute: Annotated[
        bool | None,
        typer.Option(
            "--recompute/--keep",
            help="Run each block twice and keep nothing of it: less memory, more time.",
            show_default="keep",
        ),
    ] = None,
    backend: Backend = None,
    device: Device = None,
    compiled: Annotated[bool, typer.Option("--compile", help="torch.compile the model.")] = False,
    eval_every: Annotated[int, typer.Option(help="Steps between evaluations; 0: at the end.")] = 0,
    save_every: Annotated[int, typer.Option(help="Steps between checkpoints; 0: at the end.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write to.", show_default="runs/bert, or that of --resume"),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the run in this folder, on either backend.")
    ] = None,
    beside: Annotated[
        Path | None, typer.Option(help="Draw the curve of the run in this folder, too.")
    ] = None,
) -> None:
    """Pretrain a BERT on text: masked tokens and next sentences, on either backend.

    Writes model.safetensors, tokenizer.json, metrics.jsonl, curve.png and the folder tokens.
    """
    from twingrad.core.registry import default_backend, load_backend
    from twingrad.core.trainer import interruptible
    from twingrad.models.bert import pretraining

    for name, value in (("--eval-every", eval_every), ("--save-every", save_every)):
        if value < 0:
            raise SettingError(f"{name} must be an integer >= 0; got {value}")
    if stop_at is not None and stop_at < 1:
        raise SettingError(f"--stop-at must be an integer >= 1; got {stop_at}")
    backend = backend or default_backend()
    folder = out or (_folder_of(resume) if resume else Path("runs/bert"))
    changes: dict[str, Any] = {
        name: value
        for name, value in (
            ("seq_len", seq_len),
            ("batch_size", batch_size),
            ("accumulate", accumulate),
            ("steps", steps),
            ("lr", lr),
            ("warmup", warmup),
            ("schedule", schedule),
            ("weight_decay", weight_decay),
            ("clip", clip),
            ("masking", masking),
            ("held_out", held_out),
            ("seed", seed),
            ("dtype", dtype),
            ("native_random", native_random or None),
            ("recompute", recompute),
        )
        if value is not None
    }
    shape: dict[str, Any] = {
        name: value
        for name, value in (
            ("form", form),
            ("size", size),
            ("hidden", hidden),
            ("layers", layers),
            ("heads", heads),
            ("dropout", dropout),
        )
        if value is not None
    }
    console = terminal()
    if beside is not None and not (beside / pretraining.METRICS).is_file():
        raise DataError(f"--beside {beside}: there is no {pretraining.METRICS}")
    fixed = [*shape, *(name for name in FIXED if name in changes)]
    if resume is not None and fixed:
        option = fixed[0].replace("_", "-")
        raise SettingError(f"--{option} cannot change when a run is resumed")
    if resume is None and not corpus and not demo_corpus:
        raise SettingError("give a text with --corpus FILE, or --demo-corpus")
    if resume is None and tokenizer is None:
        raise SettingError("give --tokenizer FILE; `twingrad vocab` makes one")
    names = (pretraining.CHECKPOINT, pretraining.METRICS, TOKENIZER, PICTURE)
    with writable_folder(folder, names), interruptible() as interrupted:
        if resume is None:
            settings = pretraining.Settings(**changes)
            words = _tokenizer(tokenizer)
            config = _config(settings, words, **shape)
            run = pretraining.start(config, settings, words.fingerprint, backend, device)
        else:
            source = _folder_of(resume)
            run = pretraining.resume(source / pretraining.CHECKPOINT, backend, device, **changes)
            words = _tokenizer(tokenizer or source / TOKENIZER)
            if words.fingerprint != run.tokenizer:
                raise SettingError(
                    f"--tokenizer must be the one that the run began with; "
                    f"{tokenizer or source / TOKENIZER} is another"
                )
            run.metrics = pretraining.read_metrics(source / pretraining.METRICS, run.step)
        forward = load_backend(backend).compiled(run.model) if compiled else None
        tokens = _tokens(folder, resume, corpus, demo_corpus, encoding, words)
        train, judged = _data(run, tokens, words)
        baseline = _baselines(tokens, run, judged, words)
        say(console, _introduction(run, tokens, train, judged, baseline))
        words.save(folder / TOKENIZER)
        pretraining.write_metrics(folder / pretraining.METRICS, run.metrics)
        last = min(stop_at or run.settings.steps, run.settings.steps)
        _loop(run, train, judged, forward, folder, last, eval_every, save_every, interrupted)
        pretraining.save(run, folder)
        stopped = run.step < run.settings.steps
        say(console, _ending(run))
        other = None
        if beside is not None:
            other = pretraining.read_metrics(beside / pretraining.METRICS, run.step)
        _draw(run, baseline, folder, other, lambda line: say(console, [line]))
        say(console, [f"wrote {folder / pretraining.CHECKPOINT}"])
        if stopped:
            say(console, [f"go on with: twingrad train bert --resume {folder}"])
    if interrupted():
        raise typer.Exit(INTERRUPTED)


def _folder_of(resume: Path) -> Path:
    return resume.parent if resume.suffix == ".safetensors" else resume


def _tokenizer(path: Path | None) -> Tokenizer:
    from twingrad.models.bert.tokenizer import Tokenizer

    assert path is not None
    return Tokenizer.load(path)


def _config(
    settings: Any,
    tokenizer: Tokenizer,
    *,
    form: str = "google",
    size: str = "tiny",
    hidden: int | None = None,
    layers: int | None = None,
    heads: int | None = None,
    dropout: float | None = None,
) -> BertConfig:
    from twingrad.models.bert.config import SIZES, BertConfig

    if form not in ("google", "teaching"):
        raise SettingError(f"--form must be google or teaching; got {form!r}")
    if size not in SIZES:
        raise SettingError(f"--size must be one of {', '.join(SIZES)}; got {size!r}")
    width = hidden or SIZES[size][0]
    changes: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "pad_id": tokenizer.pad_id,
        "hidden_size": width,
        "layers": SIZES[size][1] if layers is None else layers,
        "heads": heads or SIZES[size][2],
        "intermediate_size": 4 * width,
        "max_positions": max(512, settings.seq_len),
    }
    if dropout is not None:
        changes |= {"dropout": dropout, "attention_dropout": dropout}
    make = BertConfig.teaching if form == "teaching" else lambda **c: BertConfig.google(size, **c)
    return make(**changes)


def _tokens(
    folder: Path,
    resume: Path | None,
    corpus: list[Path] | None,
    demo_corpus: bool,
    encoding: str,
    tokenizer: Tokenizer,
) -> TokenFile:
    """Return the corpus as tokens: those beside the run, or else made from the text."""
    from itertools import chain

    from twingrad.models.bert.corpus import demo_corpus as demo
    from twingrad.models.bert.corpus import read_documents
    from twingrad.models.bert.pretraining_data import TokenFile

    if resume is not None and not corpus and not demo_corpus:
        source = _folder_of(resume) / TOKENS
        tokens = TokenFile.load(source, tokenizer)
        if source.resolve() != (folder / TOKENS).resolve():
            TokenFile.copy(source, folder / TOKENS)
        return tokens
    documents = chain(
        read_documents(corpus, encoding) if corpus else (), demo() if demo_corpus else ()
    )
    return TokenFile.build(folder / TOKENS, documents, tokenizer)


def _data(
    run: Run, tokens: TokenFile, tokenizer: Tokenizer
) -> tuple[PretrainingData, PretrainingData | None]:
    """Return examples of the documents to train on, and of those held out, if there are any."""
    from twingrad.models.bert.pretraining_data import PretrainingData

    settings = run.settings
    train, held_out = tokens.split(settings.held_out, settings.seed)
    shape = (settings.seq_len, settings.batch_size)
    examples = PretrainingData(train, tokenizer, *shape, settings.seed, settings.masking)
    if not len(held_out):
        return examples, None
    # Stored, so that each evaluation asks the same.
    return examples, PretrainingData(held_out, tokenizer, *shape, settings.seed + 1, "stored")


def _baselines(
    tokens: TokenFile, run: Run, judged: PretrainingData | None, tokenizer: Tokenizer
) -> Baselines | None:
    from twingrad.models.bert.baselines import baselines

    if judged is None:
        return None
    train, _ = tokens.split(run.settings.held_out, run.settings.seed)
    batches = (judged.batch(number) for number in range(min(JUDGED, len(judged))))
    return baselines(train, len(tokenizer), batches)


def _loop(
    run: Run,
    train: PretrainingData,
    judged: PretrainingData | None,
    forward: Callable[..., Any] | None,
    folder: Path,
    last: int,
    eval_every: int,
    save_every: int,
    interrupted: Callable[[], bool],
) -> None:
    """Train to the end, or until Ctrl-C; evaluate and save on the way."""
    from twingrad.core.files import appending
    from twingrad.models.bert import pretraining

    def judge() -> None:
        if judged is not None:
            record(pretraining.evaluate(run, judged, JUDGED, forward))

    with _progress(run) as show, appending(folder / pretraining.METRICS) as append:

        def record(line: dict[str, Any]) -> None:
            run.metrics.append(line)
            append(line)
            show(line)

        for line in pretraining.train(run, train, until=last, forward=forward):
            record(line)
            is_last = run.step == last
            if is_last or (eval_every and run.step % eval_every == 0):
                judge()
            if save_every and run.step % save_every == 0 and not is_last:
                pretraining.save(run, folder)
            if interrupted():
                break


def _introduction(
    run: Run,
    tokens: TokenFile,
    train: PretrainingData,
    judged: PretrainingData | None,
    baseline: Baselines | None,
) -> list[str]:
    import numpy as np

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
        lines.append(f"held out: {judged.examples:,} examples; counts alone lose {guess} a token")
    if run.step:
        lines.append(f"resumed after step {run.step}")
    return lines


def _ending(run: Run) -> list[str]:
    done = f"{run.step} of {run.settings.steps} steps"
    is_done = run.step == run.settings.steps
    lines = [f"{'trained for' if is_done else 'stopped after'} {done}"]
    steps = [line for line in run.metrics if "data_share" in line]
    if steps:
        share = sum(line["data_share"] for line in steps) / len(steps)
        speed = sorted(line["tokens_per_second"] for line in steps)[len(steps) // 2]
        lines.append(
            f"{speed:,.0f} tokens/s (median); making batches took {100 * share:.1f} % of it"
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


def _draw(
    run: Run,
    baseline: Baselines | None,
    folder: Path,
    beside: list[dict[str, Any]] | None,
    tell: Callable[[str], None],
) -> None:
    from twingrad.models.bert.pictures import draw_curve
    from twingrad.models.pictures import missing

    reason = missing()
    if reason is not None:
        tell(f"no picture: {reason}")
        return
    if any("masked_loss" in line for line in run.metrics):
        draw_curve(run.metrics, baseline, folder / PICTURE, beside)


@contextmanager
def _progress(run: Run) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Show a bar on standard error; yields what to call with each line of metrics."""
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
