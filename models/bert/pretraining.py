"""Pretraining: masked tokens and next sentences, step by step, on either backend.

A checkpoint holds the whole run, so training can stop after any step and continue on either backend
with the same examples, masks and dropout.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from twingrad.core.build import build
from twingrad.core.checkpoint import load_checkpoint, read_notes, save_checkpoint
from twingrad.core.command_options import check_changes
from twingrad.core.errors import BackendError, CheckpointError, SettingError
from twingrad.core.layers import CrossEntropyLoss
from twingrad.core.modes import evaluating
from twingrad.core.optimizers import AdamW
from twingrad.core.optimizers.optimizer import clip_grad_norm_
from twingrad.core.registry import load_backend
from twingrad.core.state import to_numpy
from twingrad.core.trainer import TrainingError
from twingrad.models.bert.config import BertConfig
from twingrad.models.bert.model import BertForPretraining
from twingrad.models.bert.pretraining_data import PretrainingBatch, PretrainingData
from twingrad.models.bert.settings import PretrainingSettings

KIND = "bert"  # what a checkpoint of this model says it is
CHECKPOINT = "model.safetensors"


@dataclass
class PretrainingRun:
    """A model in training: everything that a checkpoint keeps, and what was measured so far."""

    config: BertConfig
    settings: PretrainingSettings
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
    settings: PretrainingSettings,
    tokenizer: str,
    backend: str,
    device: str | None = None,
) -> PretrainingRun:
    """Return a run at its first step; `tokenizer` is the fingerprint of the one in use."""
    if config.max_positions < settings.seq_len:
        raise SettingError(
            f"must be at most max_positions = {config.max_positions}; got {settings.seq_len}",
            "seq_len",
        )
    if settings.dtype == "bfloat16" and backend == "numpy":
        raise BackendError(
            f"dtype bfloat16 needs a backend that has it, such as torch; got {backend}"
        )
    # With bfloat16 the weights stay float32; only matrix products are narrow.
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
    return PretrainingRun(config, settings, tokenizer, model, _optimizer(model, settings))


def resume(path: Path, backend: str, device: str | None = None, **changes: Any) -> PretrainingRun:
    """Return the run that a checkpoint holds, on either backend, with some settings changed.

    Raises SettingError for a setting that cannot change, CheckpointError if the file is damaged or
    holds something else.
    """
    check_changes(PretrainingSettings, changes)
    notes = read_notes(path)
    extra = notes.extra
    if extra.get("kind") != KIND or "settings" not in extra:
        raise CheckpointError(f"{path}: it is not a checkpoint of `twingrad train bert`")
    try:
        known = {one.name for one in fields(PretrainingSettings)}
        settings = PretrainingSettings(
            **{name: value for name, value in extra["settings"].items() if name in known}
        )
        config = BertConfig.from_dict(extra["config"])
        tokenizer = str(extra["tokenizer"])
    except (SettingError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: its header is damaged: {error}") from None
    settings = replace(settings, **changes)
    if settings.steps < notes.step:
        raise SettingError(
            f"must be at least the {notes.step} that are done; got {settings.steps}", "steps"
        )
    run = start(config, settings, tokenizer, backend, device)
    load_checkpoint(path, model=run.model, optimizer=run.optimizer)
    run.step = notes.step
    decayed, _ = run.optimizer.param_groups
    decayed["weight_decay"] = settings.weight_decay  # the checkpoint may hold another
    return run


def save(run: PretrainingRun, folder: Path) -> None:
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
    run: PretrainingRun,
    data: PretrainingData,
    *,
    until: int | None = None,
    forward: Callable[..., Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """Take steps up to number `until` (all by default); yield what each measured.

    `forward` is called instead of the model if it was compiled. Raises TrainingError, before the
    weights are touched, if the loss is not finite.
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
                # Over all targets of the step: those of a batch with few must not weigh more.
                masked = losses(masked_logits, batch.masked_targets) * (1 / targets)
                follows = losses(next_logits, batch.next_sentence_label) * (1 / rows)
                loss = masked + follows
            loss.backward()
            masked_loss += masked.item()
            next_loss += follows.item()
        total = masked_loss + next_loss
        if not math.isfinite(total):
            raise TrainingError(
                f"training diverged: the loss of step {number} is {total}; lower the learning "
                f"rate or lengthen its warm-up"
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
    run: PretrainingRun,
    data: PretrainingData,
    batches: int,
    forward: Callable[..., Any] | None = None,
) -> dict[str, Any]:
    """Return losses and accuracies over the first batches of `data`, out of training mode."""
    model = run.model
    forward = model if forward is None else forward
    losses = CrossEntropyLoss(reduction="sum")
    totals = dict.fromkeys(("masked_loss", "next_loss", "masked_right", "next_right"), 0.0)
    targets = rows = 0
    with evaluating(model):
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


def _inputs(batch: PretrainingBatch) -> tuple[Any, ...]:
    return (
        batch.input_ids,
        batch.token_type_ids,
        batch.attention_mask,
        batch.masked_positions,
    )


def _optimizer(model: Any, settings: PretrainingSettings) -> AdamW:
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
