"""Checkpoints: one safetensors file that continues training on either backend.

Parameters stand under "model.<name>", optimizer state under "optimizer.<number>.<array>"; what is
not an array (steps, settings, random draws so far) is JSON in the file's header.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from twingrad.core.errors import CheckpointError, TwingradError
from twingrad.core.files import whole_file
from twingrad.core.spec import Arrays
from twingrad.core.state import to_numpy

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says beside the arrays: the step, and whatever the caller added."""

    step: int
    extra: Mapping[str, Any] = field(default_factory=dict)


def save_checkpoint(
    path: str | Path,
    *,
    model: Any,
    optimizer: Any = None,
    step: int = 0,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a model, and what it takes to go on training it, whole or not at all.

    `extra` is anything that JSON can hold. Raises OutputError if the file cannot be written.
    """
    arrays: Arrays = {
        f"model.{name}": to_numpy(value) for name, value in model.state_dict().items()
    }
    notes: dict[str, Any] = {"format": FORMAT, "step": step, "extra": extra or {}}
    notes["draws"] = {
        name: module.draws.count
        for name, module in model.named_modules()
        if module.draws is not None
    }
    if optimizer is not None:
        state = optimizer.state_dict()
        notes["optimizer"] = {
            "name": optimizer.spec.name,
            "param_groups": state["param_groups"],
            "steps": {number: entries["step"] for number, entries in state["state"].items()},
        }
        for number, entries in state["state"].items():
            for name, value in entries.items():
                if name != "step":
                    arrays[f"optimizer.{number}.{name}"] = to_numpy(value)
    content = save(arrays, metadata={"twingrad": json.dumps(notes)})
    with whole_file(Path(path)) as file:
        file.write(content)


def load_checkpoint(path: str | Path, *, model: Any = None, optimizer: Any = None) -> Checkpoint:
    """Restore a model, and an optimizer over its parameters, on whichever backend they are.

    Raises CheckpointError, before anything is changed, if the file is damaged or another model's.
    """
    arrays, notes = _read(Path(path))
    try:
        if model is not None:
            prefix = "model."
            model_state = {
                name.removeprefix(prefix): array
                for name, array in arrays.items()
                if name.startswith(prefix)
            }
        if optimizer is not None:
            before = optimizer.state_dict()
            optimizer.load_state_dict(_optimizer_state(path, arrays, notes, optimizer))
        if model is not None:
            try:
                model.load_state_dict(model_state)
            except TwingradError:
                if optimizer is not None:
                    optimizer.load_state_dict(before)
                raise
            for name, module in model.named_modules():
                if module.draws is not None:
                    module.draws.count = notes["draws"].get(name, 0)
    except TwingradError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return Checkpoint(notes["step"], notes["extra"])


def _optimizer_state(
    path: str | Path, arrays: Arrays, notes: Mapping[str, Any], optimizer: Any
) -> dict[str, Any]:
    saved = notes.get("optimizer")
    if saved is None:
        raise CheckpointError("it holds no optimizer state")
    if saved["name"] != optimizer.spec.name:
        raise CheckpointError(
            f"it holds the state of {saved['name']}, not of {optimizer.spec.name}"
        )
    state: dict[int, dict[str, Any]] = {
        int(number): {"step": step} for number, step in saved["steps"].items()
    }
    for key, array in arrays.items():
        kind, _, rest = key.partition(".")
        if kind == "optimizer":
            number, _, name = rest.partition(".")
            state[int(number)][name] = array
    return {"state": state, "param_groups": saved["param_groups"]}


def _read(path: Path) -> tuple[Arrays, dict[str, Any]]:
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            header = (file.metadata() or {}).get("twingrad")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: it is damaged or no checkpoint: {error}") from None
    if header is None:
        raise CheckpointError(f"{path}: it is a safetensors file, but no twingrad checkpoint")
    notes: dict[str, Any] = json.loads(header)
    if notes.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: its format is {notes.get('format')}, and this version reads {FORMAT}"
        )
    return arrays, notes
