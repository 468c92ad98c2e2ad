"""Pretraining: masked tokens and next sentences, step by step, on either backend.

A run is what a checkpoint holds, so training can stop after any step and go on, on this backend or
the other, with the same examples, masks and dropout.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from twingrad.core.build import build
from twingrad.core.checkpoint import load_checkpoint, read_notes, save_checkpoint
from twingrad.core.errors import BackendError, CheckpointError, SettingError
from twingrad.core.files import whole_file
from twingrad.core.layers import CrossEntropyLoss
from twingrad.core.optimizers import AdamW
from twingrad.core.optimizers.optimizer import clip_grad_norm_
from twingrad.core.random import check_seed
from twingrad.core.registry import load_backend, no_grad
from twingrad.core.schedule import Schedule
from twingrad.core.state import to_numpy
from twingrad.core.trainer import TrainingError
from twingrad.models.bert.config import BertConfig
from twingrad.models.bert.model import BertForPretraining
from twingrad.models.bert.pretraining_data import Batch, PretrainingData

KIND = "bert"  # what a checkpoint of this model says it is
CHECKPOINT = "model.safetensors"
METRICS = "metrics.jsonl"
DTYPES = ("float32", "float64", "bfloat16")


@dataclass(frozen=True)
class Settings:
    """How to pretrain. Raises SettingError for a value out of range."""

    steps: int = 1000
    batch_size: int = 32  # rows at once
    accumulate: int = 1  # batches whose gradients make one step
    seq_len: int = 128
    lr: float = 1e-4
    warmup: float = 0.1
    schedule: str = "linear"
    weight_decay: float = 0.01
    clip: float = 1.0  # 0: not at all
    masking: str = "dynamic"
    held_out: float = 0.1  # share of the documents
    seed: int = 0
    dtype: str = "float32"
    native_random: bool = False
    recompute: bool = False  # blocks keep nothing and run twice

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate"):
            value = getattr(self, name)
            if value < 1:
                option = name.replace("_", "-")
                raise SettingError(f"--{option} must be an integer >= 1; got {value!r}")
        for name in ("weight_decay", "clip"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                option = name.replace("_", "-")
                raise SettingError(f"--{option} must be a number >= 0; got {value!r}")
        if self.dtype not in DTYPES:
            raise SettingError(f"--dtype must be one of {', '.join(DTYPES)}; got {self.dtype!r}")
        check_seed(self.seed)
        _ = self.rates  # raises for a schedule out of range

    @property
    def rates(self) -> Schedule:
        """The learning rate of each step."""
        return Schedule(self.schedule, self.lr, self.steps, self.warmup)


@dataclass
class Run:
    """A model in training: everything that a checkpoint keeps, and what was measured so far."""

    config: BertConfig
    settings: Settings
    tokenizer: str  # its fingerprint
    model: Any
    optimizer: Any
    step: int = 0  # steps that are done
    metrics: list[dict[str, Any]] = field(default_factory=list)

    @property
    def backend(self) -> str:
        return str(self.model.backend)


def start(
    config: BertConfig,
    settings: Settings,
    tokenizer: str,
    backend: str,
    device: str | None = None,
) -> Run:
    """Return a run at its first step; `tokenizer` is the fingerprint of the one in use."""
    if config.max_positions < settings.seq_len:
        raise SettingError(
            f"--seq-len must be at most max_positions = {config.max_positions}; "
            f"got {settings.seq_len}"
        )
    if settings.dtype == "bfloat16" and backend == "numpy":
        raise BackendError("--dtype bfloat16 needs a backend that has it; give --backend torch")
    # With bfloat16 the weights stay float32, and only products of matrices are narrow.
    dtype = "float32" if settings.dtype == "bfloat16" else settings.dtype
    model = build(
        BertForPretraining(config),
        backend=backend,
        seed=settings.seed,
        dtype=dtype,
        device=device,
        native_random=settings.native_random,
    )
    model.bert.recomputes = settings.recompute
    return Run(config, settings, tokenizer, model, _optimizer(model, settings))


def resume(path: Path, backend: str, device: str | None = None, **changes: Any) -> Run:
    """Return the run that a checkpoint holds, on either backend, with some settings changed.

    Raises CheckpointError if the file is damaged, or of something else.
    """
    notes = read_notes(path)
    extra = notes.extra
    if extra.get("kind") != KIND or "settings" not in extra:
        raise CheckpointError(f"{path}: it is no checkpoint of `twingrad train bert`")
    try:
        known = {one.name for one in fields(Settings)}
        settings = Settings(**{k: v for k, v in extra["settings"].items() if k in known})
        config = BertConfig.from_dict(extra["config"])
        tokenizer = str(extra["tokenizer"])
    except (SettingError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: its header is damaged: {error}") from None
    settings = replace(settings, **changes)
    if settings.steps < notes.step:
        raise SettingError(
            f"--steps must be at least the {notes.step} that are done; got {settings.steps}"
        )
    run = start(config, settings, tokenizer, backend, device)
    load_checkpoint(path, model=run.model, optimizer=run.optimizer)
    run.step = notes.step
    decayed, _ = run.optimizer.param_groups
    decayed["weight_decay"] = settings.weight_decay  # the checkpoint's may have been changed
    return run


def save(run: Run, folder: Path) -> None:
    """Write the checkpoint, whole or not at all."""
    extra = {
        "kind": KIND,
        "config": run.config.to_dict(),
        "settings": asdict(run.settings),
        "tokenizer": run.tokenizer,
    }
    save_checkpoint(
        folder / CHECKPOINT,
        model=run.model,
        optimizer=run.optimizer,
        step=run.step,
        extra=extra,
    )


def train(
    run: Run,
    data: PretrainingData,
    *,
    until: int | None = None,
    forward: Callable[..., Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """Take steps up to number `until` (all by default); yield what each measured.

    `forward` stands for the model where it was compiled. Raises TrainingError, before the weights
    are touched, if the loss is not finite.
    """
    settings, model = run.settings, run.model
    forward = model if forward is None else forward
    losses = CrossEntropyLoss(reduction="sum")
    backend = load_backend(run.backend)
    while run.step < min(until or settings.steps, settings.steps):
        started = time.perf_counter()
        number = run.step + 1
        first = run.step * settings.accumulate
        batches = [data.batch(first + part) for part in range(settings.accumulate)]
        made = time.perf_counter()
        targets = max(sum(len(batch.masked_targets) for batch in batches), 1)
        rows = sum(len(batch.input_ids) for batch in batches)
        for group in run.optimizer.param_groups:
            group["lr"] = settings.rates(number)
        run.optimizer.zero_grad()
        model.train()
        masked_loss = next_loss = 0.0
        for batch in batches:
            with backend.autocast(model, settings.dtype):
                masked_logits, next_logits = forward(*_inputs(batch))
                # Over all targets of the step: batches with few of them must not weigh more.
                masked = losses(masked_logits, batch.masked_targets) * (1 / targets)
                follows = losses(next_logits, batch.next_sentence_label) * (1 / rows)
                loss = masked + follows
            loss.backward()
            masked_loss += masked.item()
            next_loss += follows.item()
        total = masked_loss + next_loss
        if not math.isfinite(total):
            raise TrainingError(
                f"training diverged: the loss of step {number} is {total}; lower --lr or "
                f"lengthen --warmup"
            )
        norm = clip_grad_norm_(model.parameters(), settings.clip or math.inf)
        run.optimizer.step()
        run.step = number
        seconds = time.perf_counter() - started
        yield {
            "step": number,
            "loss": total,
            "masked_loss": masked_loss,
            "next_loss": next_loss,
            "lr": settings.rates(number),
            "grad_norm": norm,
            "tokens_per_second": round(rows * settings.seq_len / seconds, 1),
            "data_share": round((made - started) / seconds, 5),
        }


def evaluate(
    run: Run, data: PretrainingData, batches: int, forward: Callable[..., Any] | None = None
) -> dict[str, Any]:
    """Return losses and accuracies over the first batches of `data`, out of training mode."""
    model = run.model
    forward = model if forward is None else forward
    losses = CrossEntropyLoss(reduction="sum")
    totals = dict.fromkeys(("masked_loss", "next_loss", "masked_right", "next_right"), 0.0)
    targets = rows = 0
    model.eval()
    with no_grad():
        for number in range(min(batches, len(data))):
            batch = data.batch(number)
            masked_logits, next_logits = forward(*_inputs(batch))
            totals["masked_loss"] += losses(masked_logits, batch.masked_targets).item()
            totals["next_loss"] += losses(next_logits, batch.next_sentence_label).item()
            guesses = to_numpy(masked_logits).argmax(axis=-1)
            totals["masked_right"] += float((guesses == batch.masked_targets).sum())
            guesses = to_numpy(next_logits).argmax(axis=-1)
            totals["next_right"] += float((guesses == batch.next_sentence_label).sum())
            targets += len(batch.masked_targets)
            rows += len(batch.input_ids)
    model.train()
    masked_loss = totals["masked_loss"] / max(targets, 1)
    return {
        "step": run.step,
        "held_out_masked_loss": masked_loss,
        "held_out_perplexity": math.exp(min(masked_loss, 700.0)),
        "held_out_masked_accuracy": totals["masked_right"] / max(targets, 1),
        "held_out_next_loss": totals["next_loss"] / rows,
        "held_out_next_accuracy": totals["next_right"] / rows,
        "targets": targets,
        "rows": rows,
    }


def read_metrics(path: Path, step: int) -> list[dict[str, Any]]:
    """Return the lines of a metrics file up to a step: those after it were never checkpointed."""
    if not path.is_file():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            break  # a line that a kill cut short, and whatever follows
        if entry["step"] <= step:
            lines.append(entry)
    return lines


def write_metrics(path: Path, metrics: list[dict[str, Any]]) -> None:
    """Write all lines of a metrics file, whole or not at all."""
    with whole_file(path) as file:
        file.write("".join(json.dumps(line) + "\n" for line in metrics).encode())


def _inputs(batch: Batch) -> tuple[Any, ...]:
    return (
        batch.input_ids,
        batch.token_type_ids,
        batch.attention_mask,
        batch.masked_positions,
    )


def _optimizer(model: Any, settings: Settings) -> AdamW:
    return AdamW(parameter_groups(model, settings.weight_decay), lr=settings.rates(1))


def parameter_groups(model: Any, weight_decay: float) -> list[dict[str, Any]]:
    """Return the parameters that decay, and those that do not: biases, and scales of norms."""
    parameters = list(model.parameters())
    return [
        {
            "params": [parameter for parameter in parameters if parameter.ndim > 1],
            "weight_decay": weight_decay,
        },
        {
            "params": [parameter for parameter in parameters if parameter.ndim <= 1],
            "weight_decay": 0.0,
        },
    ]
