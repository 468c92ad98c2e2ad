"""The command line as a test calls it: in this process, with what it printed and its exit code."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from twingrad.cli import main

ROOT = Path(__file__).parent.parent


def pytest_configure() -> None:
    # A job in the background starts with Ctrl-C ignored, and would hand that on to the programs
    # that the tests interrupt.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)  # a core for each worker, or their threads wait for each other


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def twingrad(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Run `twingrad` with these arguments."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["twingrad", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def refused(twingrad: Callable[..., Done]) -> Callable[..., str]:
    """Run a command that must fail with this exit code, and return its one line."""

    def run(code: int, *arguments: object) -> str:
        done = twingrad(*arguments)
        assert done.code == code, done
        assert "Traceback" not in done.out + done.err
        lines = done.err.strip().splitlines()
        assert len(lines) == 1, done.err
        assert lines[0].startswith("twingrad: ")
        return lines[0]

    return run


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Hugging Face folder with a small BERT; whoever changes it copies it first."""
    import twingrad as tg
    from twingrad.models.bert.config import BertConfig
    from twingrad.models.bert.huggingface import save_model
    from twingrad.models.bert.model import BertForPretraining
    from twingrad.models.bert.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(["the cat sat on the mat", "a dog ran", "so it goes"], "word")
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        layers=2,
        heads=4,
        intermediate_size=32,
        max_positions=24,
        initializer_range=0.2,
    )
    folder = tmp_path_factory.mktemp("bert") / "pretrained"
    save_model(tg.build(BertForPretraining(config), "numpy", seed=5), tokenizer, folder)
    return folder


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the sdist, as a package index would hold it."""
    folder = tmp_path_factory.mktemp("dist")
    # A build writes beside its sources, and another process may be building, too.
    sources = folder / "sources"
    left = shutil.ignore_patterns(".*", "build", "dist", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT, sources, symlinks=True, ignore=left)
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(folder), str(sources)],
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))
