"""An error names the field to a Python caller and the option to a user, in one line each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from twingrad.core import packages
from twingrad.core.errors import MissingPackageError, RegistrationError, SettingError
from twingrad.models import pictures
from twingrad.models.bert.settings import (
    FineTuningSettings,
    ModelShape,
    Pauses,
    PretrainingSettings,
)
from twingrad.models.bert.tokenizer import check_training
from twingrad.models.mlp.settings import DataChoice, MlpSettings


def vocabulary(**changes: Any) -> None:
    check_training(**{"kind": "word", "size": None, "min_frequency": 1, **changes})


@pytest.mark.parametrize(
    ("command", "caller", "field", "value", "reason"),
    [
        ("train mlp", MlpSettings, "epochs", 0, "must be an integer >= 1; got 0"),
        ("train mlp", MlpSettings, "batch_size", -1, "must be an integer >= 1; got -1"),
        ("train mlp", MlpSettings, "weight_decay", -1.0, "must be a number >= 0; got -1.0"),
        ("train mlp", MlpSettings, "optimizer", "adam", "must be one of adamw, sgd; got 'adam'"),
        (
            "train mlp",
            MlpSettings,
            "momentum",
            0.9,
            "is only for optimizer 'sgd'; got optimizer 'adamw'",
        ),
        ("train mlp", DataChoice, "held_out", 1.5, "must be a number in [0, 1); got 1.5"),
        ("train mlp", DataChoice, "points", 1, "must be an integer >= 2; got 1"),
        ("train bert", PretrainingSettings, "steps", 0, "must be an integer >= 1; got 0"),
        ("train bert", PretrainingSettings, "seq_len", 2, "must be an integer >= 5; got 2"),
        ("train bert", PretrainingSettings, "clip", -1.0, "must be a number >= 0; got -1.0"),
        ("train bert", ModelShape, "layers", -1, "must be an integer >= 0; got -1"),
        ("train bert", ModelShape, "dropout", 1.0, "must be a number in [0, 1); got 1.0"),
        ("train bert", Pauses, "save_every", -1, "must be an integer >= 0; got -1"),
        ("train classifier", FineTuningSettings, "epochs", 0, "must be an integer >= 1; got 0"),
        ("train classifier", FineTuningSettings, "max_length", 2, "must be an integer >= 3; got 2"),
        ("vocab", vocabulary, "kind", "letter", "must be one of word, wordpiece; got 'letter'"),
        ("vocab", vocabulary, "min_frequency", 0, "must be an integer >= 1; got 0"),
    ],
)
def test_an_error_names_the_field_or_the_option(
    command: str,
    caller: Callable[..., Any],
    field: str,
    value: Any,
    reason: str,
    refused: Callable[..., str],
    bert_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SettingError) as caught:
        caller(**{field: value})
    assert caught.value.field == field
    assert str(caught.value) == f"{field} {reason}"
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("the cat sat\n\na dog ran\n")
    needed = {
        "train bert": ("--corpus", "text.txt", "--tokenizer", bert_folder),
        "train classifier": ("--model", bert_folder, "--data", "table.csv"),
        "vocab": ("--corpus", "text.txt"),
    }
    option = f"--{field.replace('_', '-')}"
    line = refused(2, *command.split(), *needed.get(command, ()), f"{option}={value}")
    assert line == f"twingrad: {option} {reason}"
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("vocab", "--demo-corpus", "--out", "."), "--out must be a file; . is a folder"),
        (
            ("embed", "--model", "m", "--input", "-", "--output", "x.csv"),
            "--output must end in .npy or .jsonl; got x.csv",
        ),
        (
            ("embed", "--model", "m", "--input", "-", "--output", "x.npy", "--pooling", "max"),
            "--pooling must be one of mean, cls; got 'max'",
        ),
    ],
)
def test_other_commands_name_their_options(
    arguments: tuple[str, ...], line: str, refused: Callable[..., str]
) -> None:
    assert refused(2, *arguments) == f"twingrad: {line}"


@pytest.mark.parametrize("command", ["train mlp", "train bert", "train classifier", "vocab"])
def test_an_unknown_option_is_a_wrong_call(command: str, twingrad: Callable[..., Any]) -> None:
    done = twingrad(*command.split(), "--nonsense", "1")
    assert done.code == 2
    assert "No such option: --nonsense" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("kind", [MissingPackageError, RegistrationError])
@pytest.mark.parametrize("command", ["train mlp", "vocab", "parity", "layers", "bench"])
def test_a_missing_package_or_a_bad_registration_is_a_wrong_call(
    command: str,
    kind: type[Exception],
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the command is: one line, and exit code 2."""

    def fail(*args: Any, **named: Any) -> None:
        raise kind("this is the reason")

    monkeypatch.setattr("typer.core.TyperCommand.invoke", fail)
    assert refused(2, *command.split()) == "twingrad: this is the reason"


def test_a_file_that_registers_nothing_is_a_wrong_call(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    page = tmp_path / "nothing.py"
    page.write_text('"""A page without a layer."""\n')
    assert "nothing.py" in refused(2, "parity", "--layers", page)


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [("train mlp", "scikit-learn", "data"), ("vocab --demo-corpus", "tokenizers", "text")],
)
def test_a_package_that_a_model_needs_is_named(
    command: str,
    package: str,
    extra: str,
    refused: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    line = refused(2, *command.split(), "--out", tmp_path / "out")
    assert line == (
        f"twingrad: {package} is not installed; install it with: pip install 'twingrad[{extra}]'"
    )


def test_a_picture_needs_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="matplotlib is not installed"):
        pictures.figure(1.0, 1.0)


def test_torch_is_a_package_like_any_other(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from twingrad.core import registry

    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    monkeypatch.delitem(registry._loaded, "torch", raising=False)
    line = refused(2, "train", "mlp", "--data", "points", "--backend", "torch", "--out", tmp_path)
    assert line == (
        "twingrad: backend 'torch': torch is not installed; "
        "install it with: pip install 'twingrad[torch]'"
    )
