"""The perceptron on real data and on points, from the command line, on either backend."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import twingrad as tg
from twingrad.models.mlp import datasets
from twingrad.models.mlp.settings import MlpSettings
from twingrad.models.mlp.training import loss_curve, train

BACKENDS = ("numpy", "torch")
PNG = b"\x89PNG\r\n\x1a\n"


def two_classes(path: Path, labels: tuple[str, str] = ("cat", "dog"), rows: int = 60) -> Path:
    """Write a table of two features whose sum decides the label."""
    rng = np.random.default_rng(11)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["length", "weight", "kind"])
        for a, b in rng.standard_normal((rows, 2)):
            writer.writerow([f"{a:.4f}", f"{b:.4f}", labels[int(a + b > 0)]])
    return path


@pytest.mark.parametrize("backend", BACKENDS)
def test_real_data_is_learned(backend: str) -> None:
    """569 rows of 30 features: at least 0.96 of what was held out, with the defaults."""
    fitted = train(datasets.breast_cancer(), MlpSettings(), backend=backend)
    assert fitted.figures["held-out"].confusion.accuracy >= 0.96


@pytest.mark.parametrize("backend", BACKENDS)
def test_points_are_learned_up_to_their_noise(backend: str) -> None:
    """10 of 175 labels are flipped: whoever learns the rule has 165 right, and all held out."""
    fitted = train(datasets.points(), MlpSettings(), backend=backend)
    assert fitted.figures["train"].confusion.accuracy >= 165 / 175
    assert fitted.figures["held-out"].confusion.accuracy == 1


def test_float64_curves_are_one() -> None:
    settings = MlpSettings(dtype="float64", epochs=20)
    curves = [loss_curve(name, settings=settings, epochs=20) for name in BACKENDS]
    for one, other in zip(*curves, strict=True):
        assert abs(one - other) <= 1e-10 * one


def test_the_files_say_what_happened(twingrad: Callable[..., Any], tmp_path: Path) -> None:
    done = twingrad("train", "mlp", "--data", "points", "--epochs", 30, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    epochs = [json.loads(line) for line in lines]
    assert len(epochs) == 30
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    for name in ("loss.png", "decision.png"):
        assert (tmp_path / "run" / name).read_bytes().startswith(PNG)
    assert "accuracy" in done.out
    assert "recall" in done.out


@pytest.mark.parametrize("labels", [("cat", "dog"), ("0", "1")])
def test_a_table_trains_on_one_backend_and_predicts_on_the_other(
    labels: tuple[str, str], twingrad: Callable[..., Any], tmp_path: Path
) -> None:
    table = two_classes(tmp_path / "table.csv", labels)
    for trained_on, predicted_on in (BACKENDS, BACKENDS[::-1]):
        out = tmp_path / trained_on
        done = twingrad(
            *("train", "mlp", "--data", table, "--label", "kind", "--epochs", 60),
            *("--backend", trained_on, "--out", out, "--hidden", 4),
        )
        assert done.code == 0, done.err
        texts = []
        for backend in (trained_on, predicted_on):
            done = twingrad("predict", "--model", out, "--data", table, "--backend", backend)
            assert done.code == 0, done.err
            texts.append(list(csv.DictReader(done.out.splitlines())))
        for ours, theirs in zip(*texts, strict=True):
            assert ours["prediction"] == theirs["prediction"]
            assert ours["prediction"] in labels
        with table.open() as file:
            truth = [row["kind"] for row in csv.DictReader(file)]
        right = sum(row["prediction"] == kind for row, kind in zip(texts[0], truth, strict=True))
        assert right >= 55


def test_predictions_go_to_a_file(twingrad: Callable[..., Any], tmp_path: Path) -> None:
    table = two_classes(tmp_path / "table.csv")
    arguments = ("train", "mlp", "--data", table, "--label", "kind", "--epochs", 5)
    assert twingrad(*arguments, "--out", tmp_path / "run").code == 0
    out = tmp_path / "predictions.csv"
    done = twingrad("predict", "--model", tmp_path / "run", "--data", table, "--out", out)
    assert done.code == 0, done.err
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert len(rows) == 60
    assert all(0 <= float(row["probability"]) <= 1 for row in rows)


def test_no_hidden_layer_is_logistic_regression(
    twingrad: Callable[..., Any], tmp_path: Path
) -> None:
    arguments = ("train", "mlp", "--data", "points", "--hidden", "", "--epochs", 3)
    assert twingrad(*arguments, "--out", tmp_path / "run").code == 0
    checkpoint = tg.load_checkpoint(tmp_path / "run" / "model.safetensors")
    assert checkpoint.step


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("length,weight,kind\n", "no row below it"),
        ("length,weight\n1,2\n2,3\n", "kind"),
        ("length,weight,kind\n1,2,a\n1,heavy,b\n", "line 3, column 'weight'"),
        ("length,weight,kind\n1,2,a\n1,nan,b\n", "line 3, column 'weight'"),
        ("length,weight,kind\n1,2,a\n1,,b\n", "line 3, column 'weight'"),
        ("length,weight,kind\n1,2,a\n1,b\n", "line 3"),
        ("length,length,kind\n1,2,a\n1,2,b\n", "length"),
        ("length,weight,kind\n1,2,a\n1,2,a\n", "kind"),
        ("length,weight,kind\n1,2,a\n1,2,b\n1,2,c\n", "kind"),
    ],
)
def test_a_bad_table_is_one_line_and_nothing_is_written(
    text: str, words: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    table, out = tmp_path / "bad.csv", tmp_path / "run"
    table.write_text(text)
    line = refused(1, "train", "mlp", "--data", table, "--label", "kind", "--out", out)
    assert words in line
    assert not out.exists()


def test_a_table_of_another_encoding_is_named_with_the_place(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    table = tmp_path / "latin.csv"
    table.write_bytes("größe,kind\n1,a\n2,b\n".encode("latin-1"))
    line = refused(1, "train", "mlp", "--data", table, "--label", "kind", "--out", tmp_path / "r")
    assert "UTF-8" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data", "iris"), "iris"),
        (("--hidden", "5,x"), "hidden"),
        (("--epochs", "0"), "epochs"),
        (("--dtype", "int8"), "dtype"),
        (("--optimizer", "adam"), "adam"),
        (("--backend", "tensorflow"), "tensorflow"),
        (("--momentum", "0.9"), "momentum"),
        (("--lr", "-1"), "lr"),
        (("--seed", "-1"), "seed"),
        (("--held-out", "1.5"), "held"),
        (("--device", "cuda:99", "--backend", "torch"), "cuda:99"),
    ],
)
def test_a_wrong_call_is_one_line_and_nothing_is_written(
    arguments: tuple[str, ...], words: str, twingrad: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    data = () if "--data" in arguments else ("--data", "points")
    done = twingrad("train", "mlp", *data, *arguments, "--out", out)
    assert done.code == 2, done
    assert words in done.err
    assert "Traceback" not in done.out + done.err
    assert not out.exists()


def test_a_missing_table_is_one_line(refused: Callable[..., str], tmp_path: Path) -> None:
    table = tmp_path / "missing.csv"
    line = refused(1, "train", "mlp", "--data", table, "--out", tmp_path / "run")
    assert "missing.csv: there is no such file" in line
    assert not (tmp_path / "run").exists()


def test_an_unwritable_place_is_refused_before_training(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    line = refused(1, "train", "mlp", "--data", "points", "--out", tmp_path / "file")
    assert "file" in line
    assert (tmp_path / "file").read_text() == "in the way"


def test_predict_refuses_what_does_not_fit(
    twingrad: Callable[..., Any], refused: Callable[..., str], tmp_path: Path
) -> None:
    table = two_classes(tmp_path / "table.csv")
    run = tmp_path / "run"
    arguments = ("train", "mlp", "--data", table, "--label", "kind", "--epochs", 2, "--out", run)
    assert twingrad(*arguments).code == 0
    other = tmp_path / "other.csv"
    other.write_text("length,height\n1,2\n")
    assert "weight" in refused(1, "predict", "--model", run, "--data", other)
    assert "nowhere" in refused(1, "predict", "--model", tmp_path / "nowhere", "--data", table)
    checkpoint = run / "model.safetensors"
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: len(content) // 2])
    assert "damaged" in refused(1, "predict", "--model", run, "--data", table)
    tg.save_checkpoint(checkpoint, model=tg.build(tg.Linear(2, 1)))
    assert "model.safetensors" in refused(1, "predict", "--model", run, "--data", table)


def test_ctrl_c_keeps_the_epochs_that_are_done(tmp_path: Path) -> None:
    run = tmp_path / "run"
    program = "from twingrad.cli import main; main()"
    arguments = [
        "--data",
        "points",
        "--epochs",
        "100000",
        "--patience",
        "100000",
        "--out",
        str(run),
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", program, "train", "mlp", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(6)  # until it trains; an early signal would find it still importing
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Traceback" not in out + err
    assert tg.load_checkpoint(run / "model.safetensors").step > 0
