"""`twingrad embed`, `fill-mask`, `next-sentence`, `train classifier` and `classify`."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import twingrad as tg
from twingrad.models.bert import classifier
from twingrad.models.bert.embedding import embed_texts
from twingrad.models.bert.folder import open_model, open_weights
from twingrad.models.bert.settings import FineTuningSettings
from twingrad.models.bert.texts import encode, pad

BACKENDS = ("numpy", "torch")
both_backends = pytest.mark.parametrize("backend", BACKENDS)
UNIT = 2.0**-24  # of float32
TEXTS = ["the cat sat on the mat", "", "a dog ran", "so it goes on and on and on", "cat"]


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS))
    return path


@pytest.fixture
def encoder(bert_folder: Path, tmp_path: Path) -> Path:
    """Return a copy of the small BERT's folder without heads and pooler."""
    folder = shutil.copytree(bert_folder, tmp_path / "encoder")
    arrays = load_file(folder / "model.safetensors")
    kept = {name: x for name, x in arrays.items() if "pooler" not in name and "cls" not in name}
    save_file(kept, folder / "model.safetensors")
    return folder


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


# Embeddings


@both_backends
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_each_line_gets_its_vector(
    backend: str,
    pooling: str,
    twingrad: Callable[..., Any],
    encoder: Path,
    lines: Path,
    tmp_path: Path,
) -> None:
    """Alone or in a batch, in the order of the lines; padding is left out."""
    out = tmp_path / "vectors.npy"
    done = twingrad(
        *("embed", "--model", encoder, "--input", lines, "--output", out),
        *("--pooling", pooling, "--batch-size", 3, "--backend", backend),
    )
    assert done.code == 0, done.err
    assert done.out == f"wrote {out}: 5 vectors of 16 numbers\n"
    found = np.load(out)
    assert found.dtype == np.float32
    model, tokenizer = open_model(encoder, backend, "float64", head="encoder")
    for text, vector in zip(TEXTS, found, strict=True):
        batch = pad(encode(tokenizer, [text], None, 24), tokenizer.pad_id)
        hidden = tg.to_numpy(model(*batch).hidden)[0]
        expected = hidden.mean(axis=0) if pooling == "mean" else hidden[0]
        np.testing.assert_allclose(vector, expected, rtol=0, atol=64 * UNIT * abs(hidden).max())


@both_backends
def test_the_batch_size_does_not_matter(backend: str, bert_folder: Path) -> None:
    model, tokenizer = open_model(bert_folder, backend, head="encoder")
    one, three, all_ = (
        embed_texts(model, tokenizer, TEXTS, normalize=True, batch_size=size) for size in (1, 3, 99)
    )
    np.testing.assert_allclose(one, three, rtol=0, atol=64 * UNIT)
    np.testing.assert_allclose(one, all_, rtol=0, atol=64 * UNIT)
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, rtol=4 * UNIT)


def test_lines_of_json_hold_the_text(
    twingrad: Callable[..., Any],
    bert_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stdin(monkeypatch, b"\xef\xbb\xbfa dog\r\n\r\nstra\xc3\x9fe\n")
    out = tmp_path / "new" / "vectors.jsonl"
    command = ("embed", "--model", bert_folder, "--input", "-", "--output", out)
    assert twingrad(*command, "--normalize", "--max-length", 4).code == 0
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == ["a dog", "", "straße"]
    np.testing.assert_allclose([np.linalg.norm(row["embedding"]) for row in rows], 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--output", "x.csv"), 2, "--output must end in .npy or .jsonl; got x.csv"),
        (("--pooling", "max"), 2, "--pooling must be one of mean, cls; got 'max'"),
        (("--batch-size", "0"), 2, "--batch-size must be an integer >= 1; got 0"),
        (("--max-length", "25"), 2, "--max-length must be in 3..24 for this model; got 25"),
        (("--max-length", "2"), 2, "--max-length must be in 3..24"),
        (("--backend", "jax2"), 2, "unknown backend 'jax2'"),
        (("--model", "nowhere"), 1, "nowhere: there is no such folder"),
        (("--input", "nowhere.txt"), 1, "nowhere.txt: there is no such file"),
        (("--input", "empty.txt"), 1, "empty.txt: there is no text in it"),
        (("--input", "latin.txt"), 1, "latin.txt: it is not utf-8"),
        (("--output", "folder.npy"), 1, "cannot write folder.npy: is a folder"),
    ],
)
def test_a_wrong_embed_is_one_line(
    arguments: tuple[str, ...],
    code: int,
    words: str,
    refused: Callable[..., str],
    bert_folder: Path,
    lines: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").touch()
    Path("latin.txt").write_bytes("größe\n".encode("latin-1"))
    Path("folder.npy").mkdir()
    files = sorted(tmp_path.iterdir())
    command = ("embed", "--model", bert_folder, "--input", lines, "--output", "out.npy")
    assert words in refused(code, *command, *arguments)
    assert sorted(tmp_path.iterdir()) == files


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "standard input: there is no text in it"), (b"\xff", "standard input: it is not UTF-8")],
)
def test_a_wrong_standard_input_is_one_line(
    content: bytes,
    words: str,
    refused: Callable[..., str],
    bert_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stdin(monkeypatch, content)
    out = tmp_path / "out.npy"
    assert words in refused(1, "embed", "--model", bert_folder, "--input", "-", "--output", out)


# Masks and pairs


@both_backends
def test_masks_are_filled_by_the_likeliest_tokens(
    backend: str, twingrad: Callable[..., Any], bert_folder: Path
) -> None:
    text = "the [MASK] sat on [MASK]"
    done = twingrad("fill-mask", text, "--model", bert_folder, "--backend", backend, "--top", 16)
    assert done.code == 0, done.err
    printed = done.out.splitlines()
    assert len(printed) == 2 * 17
    assert (printed[0], printed[17]) == ("mask 1", "mask 2")
    model, tokenizer = open_model(bert_folder, backend, "float64")
    ids = tokenizer.pair(tokenizer.encode(text), None, 24)[0]
    logits = tg.to_numpy(model(np.array([ids])).masked_logits)
    for number, place in enumerate(np.flatnonzero(np.array(ids) == tokenizer.mask_id)):
        chances = np.exp(logits[place]) / np.exp(logits[place]).sum()
        expected = [f"{chances[id]:.4f}  {tokenizer.token(int(id))}" for id in np.argsort(-chances)]
        assert printed[1 + 17 * number : 17 + 17 * number] == expected


@both_backends
def test_the_chance_that_b_follows_a_is_class_0(
    backend: str, twingrad: Callable[..., Any], bert_folder: Path
) -> None:
    a, b = "the cat sat", "a dog ran"
    done = twingrad("next-sentence", a, b, "--model", bert_folder, "--backend", backend)
    model, tokenizer = open_model(bert_folder, backend, "float64")
    ids, segments = tokenizer.pair(tokenizer.encode(a), tokenizer.encode(b), 24)
    logits = tg.to_numpy(model(np.array([ids]), np.array([segments])).next_logits)[0]
    chance = 1 / (1 + np.exp(logits[1] - logits[0]))
    assert done.out == f"{chance:.4f}  B follows A\n{1 - chance:.4f}  B is from elsewhere\n"


def test_an_encoder_alone_fills_no_masks(refused: Callable[..., str], encoder: Path) -> None:
    line = refused(1, "fill-mask", "a [MASK]", "--model", encoder)
    assert "the model has no head for masked tokens (cls.predictions.bias)" in line
    line = refused(1, "next-sentence", "a", "b", "--model", encoder)
    assert "the model has no next-sentence head (cls.seq_relationship.weight)" in line


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (
            ("the cat",),
            1,
            "the text must contain [MASK] in place of a token; got 'the cat'",
        ),
        (("[MASK]" + " cat" * 22,), 1, "at most 22 tokens for this model; got 23"),
        (("[MASK]", "--top", "17"), 2, "--top must be in 1..16 for this model; got 17"),
        (("[MASK]", "--top", "0"), 2, "--top must be in 1..16"),
    ],
)
def test_a_wrong_fill_mask_is_one_line(
    arguments: tuple[str, ...],
    code: int,
    words: str,
    refused: Callable[..., str],
    bert_folder: Path,
) -> None:
    assert words in refused(code, "fill-mask", *arguments, "--model", bert_folder)


def test_what_train_bert_wrote_is_used_as_it_is(
    twingrad: Callable[..., Any], bert_folder: Path, lines: Path, tmp_path: Path
) -> None:
    corpus, run, out = tmp_path / "corpus.txt", tmp_path / "run", tmp_path / "vectors.npy"
    corpus.write_text("the cat sat\nit ran\n\na dog ran\nit sat\n\nso it goes\non and on\n" * 4)
    done = twingrad(
        *("train", "bert", "--corpus", corpus, "--steps", 2, "--batch-size", 4, "--seq-len", 16),
        *("--hidden", 16, "--layers", 1, "--heads", 2, "--held-out", 0, "--out", run),
        *("--tokenizer", bert_folder / "tokenizer.json"),
    )
    assert done.code == 0, done.err
    assert len(twingrad("fill-mask", "the [MASK] sat", "--model", run).out.splitlines()) == 5
    assert twingrad("next-sentence", "a cat", "it ran", "--model", run).code == 0
    done = twingrad("embed", "--model", run, "--input", lines, "--output", out)
    assert done.out == f"wrote {out}: 5 vectors of 16 numbers\n"


# Classifiers


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return a table of texts that hold a cat or a dog, or none, beside some other words."""
    path = tmp_path / "table.csv"
    rng = np.random.default_rng(2)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "more", "animal"])
        for number in range(90):
            words = rng.choice(["the", "sat", "on", "mat", "so", "goes"], rng.integers(2, 7))
            animal = ("cat", "dog", "none")[number % 3 if number % 4 else 0]
            also = [] if animal == "none" else [animal]
            writer.writerow([" ".join([*words, *also]), "it, ran", animal])
    return path


def columns(table: Path) -> tuple[Any, ...]:
    return ("--data", table, "--text", "text", "--label", "animal")


@both_backends
def test_a_classifier_learns_is_written_and_used(
    backend: str,
    twingrad: Callable[..., Any],
    bert_folder: Path,
    encoder: Path,
    table: Path,
    tmp_path: Path,
) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("on the mat cat\nthe mat goes\nso goes dog\n")
    for start in (bert_folder, encoder):
        out = tmp_path / start.name / backend
        done = twingrad(
            *("train", "classifier", "--model", start, *columns(table), "--out", out),
            *("--epochs", 12, "--lr", "1e-2", "--batch-size", 8, "--backend", backend),
        )
        assert done.code == 0, done.err
        assert ("the encoder has no pooler" in done.out) == (start == encoder)
        assert f"trained for 12 epochs on {backend} with 72 texts; accuracy on 18" in done.out
        epochs = [json.loads(x) for x in (out / "metrics.jsonl").read_text().splitlines()]
        assert len(epochs) == 12
        assert epochs[-1]["held_out_accuracy"] >= 0.9
        assert set(epochs[0]) == {"epoch", "loss", "held_out_loss", "held_out_accuracy"}
        assert f"held out: {epochs[-1]['held_out_accuracy']:.4f} (always" in done.out
        config = json.loads((out / "config.json").read_text())
        assert config["architectures"] == ["BertForSequenceClassification"]
        assert config["id2label"] == {"0": "cat", "1": "dog", "2": "none"}
        other = BACKENDS[1 - BACKENDS.index(backend)]
        done = twingrad("classify", "--model", out, "--input", lines, "--backend", other)
        rows = [line.split("\t") for line in done.out.splitlines()]
        assert [label for label, _ in rows] == ["cat", "none", "dog"]
        assert all(1 / 3 <= float(chance) <= 1 for _, chance in rows)


def test_equal_seeds_give_equal_curves_on_both_backends(bert_folder: Path, table: Path) -> None:
    weights, tokenizer = open_weights(bert_folder)
    data = classifier.read_labelled_texts(table, "text", "animal", "more")
    assert data.seconds == ["it, ran"] * 90
    settings = FineTuningSettings(epochs=1, lr=1e-3, seed=3)
    curves = [
        classifier.fine_tune(weights, tokenizer, data, settings, backend=name).training
        for name in BACKENDS
    ]
    one, other = (list(curve.epochs[0].values.values()) for curve in curves)
    np.testing.assert_allclose(one, other, rtol=1e-4)


def test_pairs_are_classified_as_pairs(
    twingrad: Callable[..., Any],
    refused: Callable[..., str],
    bert_folder: Path,
    table: Path,
    tmp_path: Path,
) -> None:
    out, pairs = tmp_path / "run", tmp_path / "pairs.txt"
    done = twingrad(
        *("train", "classifier", "--model", bert_folder, *columns(table), "--text-pair", "more"),
        *("--epochs", 1, "--held-out", 0, "--max-length", 9, "--out", out),
    )
    assert "with 90 texts; none were held out" in done.out, done.err
    pairs.write_text("the cat\ta dog\nso\tit goes\n")
    command = ("classify", "--model", out, "--pairs", "--input", pairs)
    assert len(twingrad(*command).out.splitlines()) == 2
    pairs.write_text("the cat\ta dog\nso it goes\n")
    assert "line 2: it must be a pair A<TAB>B with exactly one tab; got 0" in refused(1, *command)


@pytest.mark.parametrize("at", [1, 12])
def test_ctrl_c_keeps_whole_epochs_or_writes_nothing(
    at: int,
    twingrad: Callable[..., Any],
    bert_folder: Path,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """72 rows are 9 batches: the signal comes in the first epoch, or in the second."""
    calls = 0
    clip = tg.clip_grad_norm_

    def pressed(*arguments: Any) -> float:
        nonlocal calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGINT)
        return clip(*arguments)

    monkeypatch.setattr(classifier, "clip_grad_norm_", pressed)
    out = tmp_path / "run"
    done = twingrad(
        *("train", "classifier", "--model", bert_folder, *columns(table), "--batch-size", 8),
        *("--out", out),
    )
    assert done.code == 130
    if at == 1:
        assert "interrupted before the end of the first epoch; nothing is written" in done.out
        assert not out.exists()
    else:
        assert "interrupted; the model is the one after 1 epoch" in done.out
        assert len((out / "metrics.jsonl").read_text().splitlines()) == 1
        open_model(out, head="classification")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--epochs", "0"), 2, "--epochs must be an integer >= 1; got 0"),
        (("--lr", "0"), 2, "--lr must be a number > 0; got 0"),
        (("--lr", "nan"), 2, "--lr must be a number > 0; got nan"),
        (("--batch-size", "0"), 2, "--batch-size must be an integer >= 1"),
        (("--max-length", "99"), 2, "--max-length must be in 3..24"),
        (("--held-out", "1"), 2, "--held-out must be a number in [0, 1); got 1"),
        (("--seed", "-1"), 2, "--seed must be an integer >= 0"),
        (
            ("--text", "body"),
            1,
            "no column 'body' to take the texts from; the columns are 'text'",
        ),
        (("--text-pair", "b"), 1, "no column 'b' to take the second texts from"),
        (("--label", "kind"), 1, "there is no column 'kind'"),
        (("--label", "more"), 1, "must have 2 to 1000 distinct values; it has 1 ('it, ran')"),
        (("--data", "nowhere.csv"), 1, "nowhere.csv: there is no such file"),
        (("--data", "hole.csv"), 1, "hole.csv: line 3, column 'animal': a label must be a word"),
        (("--data", "empty.csv"), 1, "empty.csv: the file is empty"),
        (("--out", "table.csv"), 1, "cannot write to --out table.csv: it is not a folder"),
        (("--model", "nowhere"), 1, "nowhere: there is no such folder"),
        (("--lr", "1e30"), 1, "training diverged"),
    ],
)
@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
def test_a_wrong_training_is_one_line_and_writes_nothing(
    arguments: tuple[str, ...],
    code: int,
    words: str,
    refused: Callable[..., str],
    bert_folder: Path,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.csv").touch()
    Path("hole.csv").write_text("text,animal\na,cat\nb,\n")
    files = sorted(tmp_path.iterdir())
    command = ("train", "classifier", "--model", bert_folder, *columns(table))
    assert words in refused(code, *command, "--out", "new/run", *arguments)
    assert sorted(tmp_path.iterdir()) == files


def test_a_form_without_a_place_there_is_refused_before_training(
    refused: Callable[..., str], table: Path, tmp_path: Path
) -> None:
    from twingrad.models.bert.config import BertConfig
    from twingrad.models.bert.model import BertForPretraining
    from twingrad.models.bert.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(["the cat sat"], "word")
    config = BertConfig.teaching(vocab_size=len(tokenizer), hidden_size=8, layers=1, heads=2)
    own = tmp_path / "own"
    extra = {"kind": "bert", "config": config.to_dict()}
    model = tg.build(BertForPretraining(config), "numpy")
    own.mkdir()
    tg.save_checkpoint(own / "model.safetensors", model=model, extra=extra)
    tokenizer.save(own / "tokenizer.json")
    line = refused(2, "train", "classifier", "--model", own, *columns(table))
    assert "transformers' BERT knows only norm = 'post'" in line


def test_classify_needs_a_classifier(
    refused: Callable[..., str], bert_folder: Path, lines: Path
) -> None:
    line = refused(1, "classify", "--model", bert_folder, "--input", lines)
    assert "the model has no classifier of texts (classifier.weight)" in line
