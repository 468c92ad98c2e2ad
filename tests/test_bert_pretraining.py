"""Pretraining: what a step is, and that a run can stop, go on and change its backend."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import twingrad as tg
from twingrad.core.errors import BackendError, CheckpointError, SettingError
from twingrad.core.schedule import Schedule
from twingrad.core.trainer import TrainingError
from twingrad.models.bert import pretraining
from twingrad.models.bert.baselines import baselines
from twingrad.models.bert.config import BertConfig
from twingrad.models.bert.corpus import Document, write_corpus
from twingrad.models.bert.pretraining import PretrainingRun
from twingrad.models.bert.pretraining_data import PretrainingData
from twingrad.models.bert.settings import PretrainingSettings
from twingrad.models.bert.token_file import TokenFile
from twingrad.models.bert.tokenizer import Tokenizer, train_tokenizer

BACKENDS = ("numpy", "torch")
both_backends = pytest.mark.parametrize("backend", BACKENDS)
SETTINGS = PretrainingSettings(
    steps=12, batch_size=4, seq_len=16, lr=3e-3, warmup=3, held_out=0.0, dtype="float64"
)
WORDS = [
    "the",
    "a",
    "old",
    "new",
    "red",
    "cat",
    "dog",
    "bird",
    "sees",
    "likes",
    "finds",
    "here",
    "there",
    "today",
    "again",
]


def documents(count: int = 12) -> list[Document]:
    rng = np.random.default_rng(5)
    return [
        [" ".join(rng.choice(WORDS, rng.integers(3, 9))) for _ in range(6)] for _ in range(count)
    ]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer((line for document in documents() for line in document), "word", None)


@pytest.fixture(scope="module")
def tokens(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> TokenFile:
    return TokenFile.build(tmp_path_factory.mktemp("text") / "tokens", documents(), tokenizer)


def config(tokenizer: Tokenizer, **changes: Any) -> BertConfig:
    sizes = {"hidden_size": 16, "layers": 2, "heads": 2, "intermediate_size": 32}
    return BertConfig.google(
        "tiny", **{**sizes, "vocab_size": len(tokenizer), "max_positions": 32, **changes}
    )


def begun(
    tokenizer: Tokenizer, backend: str, settings: PretrainingSettings = SETTINGS, **changes: Any
) -> PretrainingRun:
    shape = config(tokenizer, **changes)
    return pretraining.start(shape, settings, tokenizer.fingerprint, backend)


def data(
    tokens: TokenFile, tokenizer: Tokenizer, settings: PretrainingSettings = SETTINGS
) -> PretrainingData:
    return PretrainingData(
        tokens, tokenizer, settings.seq_len, settings.batch_size, settings.seed, settings.masking
    )


def losses(run: PretrainingRun, examples: PretrainingData, until: int | None = None) -> list[float]:
    return [line["loss"] for line in pretraining.train(run, examples, until=until)]


def weights(run: PretrainingRun) -> dict[str, Any]:
    return {name: tg.to_numpy(value) for name, value in run.model.state_dict().items()}


# The same on both backends


def test_both_backends_have_the_same_curve(tokens: TokenFile, tokenizer: Tokenizer) -> None:
    """In float64 and with dropout: the same batches, masks and drops, and the same arithmetic."""
    settings = replace(SETTINGS, steps=40)
    ours, theirs = (
        losses(begun(tokenizer, backend, settings), data(tokens, tokenizer, settings))
        for backend in BACKENDS
    )
    assert ours[-1] < ours[0]
    for one, other in zip(ours, theirs, strict=True):
        assert abs(one - other) <= 1e-9 * abs(other)


@both_backends
def test_a_run_that_stops_goes_on_bit_for_bit(
    backend: str, tokens: TokenFile, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """Weights, moments, order of the examples, masks, dropout and learning rate."""
    examples = data(tokens, tokenizer)
    whole = begun(tokenizer, backend)
    expected = losses(whole, examples)
    part = begun(tokenizer, backend)
    first = losses(part, examples, until=5)
    pretraining.save(part, tmp_path)
    again = pretraining.resume(tmp_path / pretraining.CHECKPOINT, backend)
    assert again.step == 5
    assert first + losses(again, examples) == expected
    for name, value in weights(whole).items():
        np.testing.assert_array_equal(weights(again)[name], value, name)


@pytest.mark.parametrize("order", [BACKENDS, BACKENDS[::-1]])
def test_a_run_goes_on_with_the_other_backend(
    order: tuple[str, str], tokens: TokenFile, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, steps=100)
    examples = data(tokens, tokenizer, settings)
    expected = losses(begun(tokenizer, order[0], settings), examples)
    part = begun(tokenizer, order[0], settings)
    first = losses(part, examples, until=40)
    pretraining.save(part, tmp_path)
    rest = losses(pretraining.resume(tmp_path / pretraining.CHECKPOINT, order[1]), examples)
    for one, other in zip(first + rest, expected, strict=True):
        assert abs(one - other) <= 1e-9 * abs(other)


@both_backends
def test_accumulated_batches_are_one_big_batch(
    backend: str, tokens: TokenFile, tokenizer: Tokenizer
) -> None:
    """By the number of all targets: a batch with few of them must not weigh more."""
    big = replace(SETTINGS, batch_size=4, steps=2)
    parts = replace(SETTINGS, batch_size=2, accumulate=2, steps=2)
    runs = []
    for settings in (big, parts):
        run = begun(tokenizer, backend, settings, dropout=0.0, attention_dropout=0.0)
        runs.append((losses(run, data(tokens, tokenizer, settings)), weights(run)))
    (one, whole), (other, pieces) = runs
    for left, right in zip(one, other, strict=True):
        assert abs(left - right) <= 1e-12 * abs(left)
    for name, value in whole.items():
        # The step of a gradient near 0 has its sign alone; its size is lr.
        assert np.abs(pieces[name] - value).max() <= 1e-6, name


# What a step is


def test_biases_and_norms_do_not_decay(tokenizer: Tokenizer) -> None:
    run = begun(tokenizer, "numpy", replace(SETTINGS, weight_decay=0.5))
    decayed, others = run.optimizer.param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.5, 0.0)
    names = {id(parameter): name for name, parameter in run.model.named_parameters()}
    left_alone = {names[id(parameter)] for parameter in others["params"]}
    assert left_alone == {
        name
        for name in names.values()
        if name.endswith("bias") or ".norm." in f".{name}" or "_norm." in name
    }


def test_a_long_warm_up_can_be_a_share() -> None:
    """The teaching code warmed up for 10,000 steps, whatever their number: 20 stayed near 0."""
    schedule = Schedule("linear", 1e-4, steps=20, warmup=0.1)
    rates = [schedule(step) for step in range(1, 21)]
    assert schedule.warmup_steps == 2
    assert max(rates) == rates[1] == 1e-4
    assert all(rate > 0 for rate in rates)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    old = Schedule("noam", 256**-0.5 * 10_000**-0.5, steps=20, warmup=10_000)
    assert old.warmup_steps == 20


def test_noam_is_the_papers_schedule() -> None:
    """d^-0.5 min(n^-0.5, n w^-1.5): 6.25e-8, 1.25e-6 and at its peak 6.25e-4 for width 256."""
    peak = 256**-0.5 * 10_000**-0.5
    schedule = Schedule("noam", peak, steps=40_000, warmup=10_000)
    for step in (1, 20, 10_000, 25_600):
        expected = 256**-0.5 * min(step**-0.5, step * 10_000**-1.5)
        assert abs(schedule(step) - expected) <= 1e-12 * expected
    assert abs(peak - 6.25e-4) < 1e-12


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant", "noam"])
def test_every_schedule_meets_its_peak_and_never_0(kind: str) -> None:
    for warmup in (0, 0.25, 10):
        rates = [Schedule(kind, 0.5, 40, warmup)(step) for step in range(1, 41)]
        assert all(0 < rate <= 0.5 for rate in rates)
        assert kind == "noam" or max(rates) > 0.48


@both_backends
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_every_make_up_of_a_batch_has_a_finite_loss(
    backend: str, rows: int, tokens: TokenFile, tokenizer: Tokenizer
) -> None:
    """One row, or rows of one label alone, were NaN in the teaching code."""
    settings = replace(SETTINGS, batch_size=rows, steps=6)
    for line in pretraining.train(
        begun(tokenizer, backend, settings), data(tokens, tokenizer, settings)
    ):
        assert np.isfinite(line["loss"])
        assert line["next_loss"] > 0


def test_a_diverging_run_says_so_before_it_spoils_the_weights(
    tokens: TokenFile, tokenizer: Tokenizer
) -> None:
    settings = replace(SETTINGS, lr=1e12, warmup=0, clip=0.0, dtype="float32")
    run = begun(tokenizer, "numpy", settings)
    with pytest.raises(
        TrainingError, match=r"the loss of step \d+ is nan; lower the learning rate"
    ):
        losses(run, data(tokens, tokenizer, settings))


@both_backends
def test_thirty_sentences_are_learned_by_heart(backend: str, tmp_path: Path) -> None:
    """Stored masks, no dropout: more than 98 in 100 masked tokens are right."""
    text = documents(5)
    words = train_tokenizer((line for document in text for line in document), "word", None)
    tokens = TokenFile.build(tmp_path / "tokens", text, words)
    settings = replace(
        SETTINGS, steps=150, batch_size=16, lr=1e-2, warmup=20, masking="stored", dtype="float32"
    )
    run = begun(
        words,
        backend,
        settings,
        hidden_size=64,
        heads=4,
        intermediate_size=128,
        dropout=0.0,
        attention_dropout=0.0,
    )
    examples = data(tokens, words, settings)
    losses(run, examples)
    found = pretraining.evaluate(run, examples, 100)
    assert found["held_out_masked_accuracy"] > 0.98
    assert found["held_out_next_accuracy"] > 0.98


@both_backends
def test_an_evaluation_drops_nothing_and_changes_nothing(
    backend: str, tokens: TokenFile, tokenizer: Tokenizer
) -> None:
    """The teaching code kept dropout on, and built the graph."""
    run, examples = begun(tokenizer, backend), data(tokens, tokenizer)
    before = weights(run)
    one, two = (pretraining.evaluate(run, examples, 3) for _ in range(2))
    assert one == two
    assert all(parameter.grad is None for parameter in run.model.parameters())
    for name, value in weights(run).items():
        np.testing.assert_array_equal(value, before[name])


# Counts alone


def test_counts_lose_what_they_must(tokens: TokenFile, tokenizer: Tokenizer) -> None:
    """Words drawn evenly: no count can lose less than the log of their number."""
    examples = data(tokens, tokenizer)
    found = baselines(tokens, len(tokenizer), [examples.batch(n) for n in range(len(examples))])
    assert abs(found.unigram - np.log(len(WORDS))) < 0.1
    assert found.bigram <= found.unigram


# Checkpoints


def test_what_is_no_checkpoint_of_a_bert_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    tg.save_checkpoint(other, model=tg.build(tg.Linear(2, 2), "numpy"))
    with pytest.raises(CheckpointError, match="it is not a checkpoint of `twingrad train bert`"):
        pretraining.resume(other, "numpy")
    pretraining.save(begun(tokenizer, "numpy"), tmp_path)
    path = tmp_path / pretraining.CHECKPOINT
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="it is damaged"):
        pretraining.resume(path, "numpy")


def test_a_run_cannot_end_before_it_is(tokenizer: Tokenizer, tmp_path: Path) -> None:
    run = begun(tokenizer, "numpy")
    run.step = 9
    pretraining.save(run, tmp_path)
    with pytest.raises(SettingError, match=r"^steps must be at least the 9 that are done; got 3"):
        pretraining.resume(tmp_path / pretraining.CHECKPOINT, "numpy", steps=3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "steps must be an integer >= 1; got 0"),
        ({"batch_size": -1}, "batch_size must be an integer >= 1; got -1"),
        ({"dtype": "float16"}, "dtype must be one of float32, float64, bfloat16; got 'float16'"),
        (
            {"schedule": "step"},
            "schedule must be one of linear, cosine, noam, constant; got 'step'",
        ),
        ({"lr": 0.0}, "lr must be a number > 0; got 0.0"),
        ({"clip": float("nan")}, "clip must be a number >= 0; got nan"),
    ],
)
def test_a_wrong_setting_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError) as caught:
        replace(SETTINGS, **changes)
    assert str(caught.value) == words


def test_bfloat16_is_torchs_alone(tokens: TokenFile, tokenizer: Tokenizer) -> None:
    settings = replace(SETTINGS, dtype="bfloat16", steps=3)
    with pytest.raises(BackendError, match="such as torch"):
        begun(tokenizer, "numpy", settings)
    run = begun(tokenizer, "torch", settings)
    narrow = losses(run, data(tokens, tokenizer, settings))
    assert {str(p.dtype) for p in run.model.parameters()} == {"torch.float32"}
    wide = losses(begun(tokenizer, "torch"), data(tokens, tokenizer), until=3)
    for one, other in zip(narrow, wide, strict=True):
        assert 0 < abs(one - other) < 0.05


# The command


@pytest.fixture
def files(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    write_corpus(tmp_path / "text.txt", documents())
    tokenizer.save(tmp_path / "tokenizer.json")
    return tmp_path


def arguments(files: Path, *more: object) -> list[object]:
    small = ["--hidden", 16, "--layers", 1, "--heads", 2, "--seq-len", 16, "--batch-size", 4]
    text = ["--corpus", files / "text.txt", "--tokenizer", files / "tokenizer.json"]
    return ["train", "bert", *text, *small, "--out", files / "run", *more]


@both_backends
def test_the_command_trains_resumes_and_tells(
    backend: str, twingrad: Callable[..., Any], files: Path
) -> None:
    done = twingrad(*arguments(files, "--steps", 6, "--eval-every", 3, "--backend", backend))
    assert done.code == 0, done
    assert "trained for 6 of 6 steps" in done.out
    assert "counts alone lose" in done.out
    assert "making batches took" in done.out
    run = files / "run"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines if "held_out_masked_loss" in line] == [3, 6]
    assert (run / "curve.png").read_bytes().startswith(b"\x89PNG")
    other = BACKENDS[backend == "numpy"]
    done = twingrad("train", "bert", "--resume", run, "--steps", 8, "--backend", other)
    assert done.code == 0, done
    assert "resumed after step 6" in done.out
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_run_can_stop_on_the_way_and_keeps_its_schedule(
    twingrad: Callable[..., Any], files: Path
) -> None:
    whole = twingrad(
        *arguments(files, "--steps", 6, "--dtype", "float64", "--out", files / "whole")
    )
    assert whole.code == 0
    part = twingrad(*arguments(files, "--steps", 6, "--dtype", "float64", "--stop-at", 3))
    assert part.code == 0
    assert "stopped after 3 of 6 steps" in part.out
    call = ("train", "bert", "--resume", files / "run", "--backend", "torch")
    done = twingrad(*call, "--beside", files / "whole")
    assert done.code == 0, done
    texts = [(files / name / "metrics.jsonl").read_text() for name in ("whole", "run")]
    steps = [[x for x in map(json.loads, text.splitlines()) if "loss" in x] for text in texts]
    for one, other in zip(*steps, strict=True):
        assert one["lr"] == other["lr"]
        assert abs(one["loss"] - other["loss"]) <= 1e-9 * one["loss"]


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--stop-at", "0"), 2, "--stop-at must be an integer >= 1; got 0"),
        (("--size", "huge"), 2, "--size must be one of tiny, mini, small, medium, base, large"),
        (("--form", "other"), 2, "--form must be one of google, teaching; got 'other'"),
        (("--heads", "3"), 2, "--heads must divide hidden_size = 16; got 3"),
        (("--seq-len", "4"), 2, "--seq-len must be an integer >= 5; got 4"),
        (("--corpus", "nowhere.txt"), 1, "nowhere.txt"),
        (("--tokenizer", "nowhere.json"), 1, "nowhere.json"),
        (("--device", "cuda"), 2, "device"),
        (("--compile",), 2, "backend 'numpy': there is nothing to compile"),
        (("--eval-every", "-1"), 2, "--eval-every must be an integer >= 0; got -1"),
        (("--dtype", "bfloat16"), 2, "such as torch"),
        (("--out", "text.txt"), 1, "is not a folder"),
    ],
)
def test_a_wrong_call_is_one_line_and_leaves_nothing(
    more: tuple[str, ...],
    code: int,
    words: str,
    refused: Callable[..., str],
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(files)
    assert words in refused(code, *arguments(files, "--steps", 2, *more))
    assert not (files / "run" / "model.safetensors").exists()


class Compiled:
    """What torch.compile returns is called like the model, and has no length."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, *args: Any) -> Any:
        return self.model(*args)

    def __len__(self) -> int:
        raise TypeError("BertForPretraining does not support len()")


def test_a_compiled_model_trains_and_is_judged_as_the_model_is(
    tokens: TokenFile, tokenizer: Tokenizer
) -> None:
    examples = data(tokens, tokenizer)
    found = []
    for compiled in (False, True):
        run = begun(tokenizer, "numpy")
        forward = Compiled(run.model) if compiled else None
        steps = list(pretraining.train(run, examples, until=2, forward=forward))
        judged = pretraining.evaluate(run, examples, 1, forward)
        found.append([line["loss"] for line in steps] + [judged["held_out_masked_loss"]])
    assert found[0] == found[1]


def test_what_a_resumed_run_cannot_change_is_refused(
    twingrad: Callable[..., Any], refused: Callable[..., str], files: Path
) -> None:
    assert twingrad(*arguments(files, "--steps", 2)).code == 0
    resume = ("train", "bert", "--resume", files / "run")
    fixed = (("seed", 3), ("size", "mini"), ("batch-size", 8), ("dropout", 0))
    for option, value in fixed:
        words = refused(2, *resume, f"--{option}", value)
        assert words.endswith(f"--{option} cannot change when a run is resumed")
    other = train_tokenizer(["completely different words"], "word", None)
    other.save(files / "other.json")
    words = refused(2, *resume, "--tokenizer", files / "other.json")
    assert "must be the one that the run began with" in words
    assert "there is no such file" in refused(1, "train", "bert", "--resume", files / "nowhere")


def test_a_resumed_run_in_another_folder_is_whole(
    twingrad: Callable[..., Any], files: Path
) -> None:
    assert twingrad(*arguments(files, "--steps", 4, "--stop-at", 2)).code == 0
    there = files / "there"
    resume = ("train", "bert", "--resume")
    assert twingrad(*resume, files / "run", "--out", there, "--stop-at", 3).code == 0
    shutil.rmtree(files / "run")
    done = twingrad(*resume, there)
    assert done.code == 0, done
    assert "trained for 4 of 4 steps" in done.out


def started(files: Path, *more: object) -> subprocess.Popen[str]:
    """Start a long run, and wait until it has taken a few steps."""
    command = [sys.executable, "-c", "from twingrad.cli import main; main()"]
    call = [*command, *map(str, arguments(files, "--steps", 100_000, *more))]
    child = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = files / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") >= 5):
        assert time.monotonic() < deadline
        assert child.poll() is None, child.communicate()
        time.sleep(0.05)
    return child


def test_a_run_that_was_killed_goes_on_from_its_last_checkpoint(
    twingrad: Callable[..., Any], files: Path
) -> None:
    with started(files, "--save-every", 2) as child:
        child.kill()
    run = files / "run"
    done = pretraining.resume(run / "model.safetensors", "numpy").step
    assert done >= 2
    assert twingrad("train", "bert", "--resume", run, "--steps", done + 3).code == 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps == list(range(1, done + 4))


def test_ctrl_c_saves_and_says_how_to_go_on(files: Path) -> None:
    metrics = files / "run" / "metrics.jsonl"
    with started(files) as child:
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=120)
    assert child.returncode == 130, (out, err)
    assert f"continue with: twingrad train bert --resume {files / 'run'}" in out
    run = pretraining.resume(files / "run" / "model.safetensors", "numpy")
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == list(range(1, run.step + 1))
