"""A checkpoint is read whole or refused, written whole or not at all, and never pickled."""

from __future__ import annotations

import ast
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import twingrad as tg
from twingrad.core.errors import BackendError, CheckpointError
from twingrad.core.files import OutputError
from twingrad.core.spec import Array

BACKENDS = ("numpy", "torch")
both_backends = pytest.mark.parametrize("backend", BACKENDS)
STRIDE = 50  # bytes between two places where a file is cut or damaged
PACKAGE = Path(tg.__file__).parent


def model_and_optimizer(backend: str, seed: int = 0, width: int = 3) -> tuple[Any, Any]:
    """Return a model and an AdamW that has taken one step."""
    module = tg.Sequential(tg.Linear(2, width), tg.Dropout(0.5), tg.Linear(width, 1))
    model = tg.build(module, backend, seed=seed)
    opt = tg.AdamW(model.parameters())
    model(np.ones((4, 2), "float32")).sum().backward()
    opt.step()
    return model, opt


def everything(model: Any, opt: Any) -> dict[str, Array]:
    arrays = {name: tg.to_numpy(value) for name, value in model.state_dict().items()}
    for number, entries in opt.state_dict()["state"].items():
        arrays |= {f"{number}.{name}": tg.to_numpy(value) for name, value in entries.items()}
    return arrays | {"draws": np.array([model[1].draws.seed, model[1].draws.count])}


def check_refused(path: Path, model: Any, opt: Any, match: str | None = None) -> None:
    """Loading raises a CheckpointError of one line that names the file, and changes nothing."""
    before = everything(model, opt)
    with pytest.raises(CheckpointError, match=match) as caught:
        tg.load_checkpoint(path, model=model, optimizer=opt)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    for name, value in everything(model, opt).items():
        np.testing.assert_array_equal(value, before[name], name, strict=True)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model, opt = model_and_optimizer("numpy", seed=1)
    tg.save_checkpoint(tmp_path / "good", model=model, optimizer=opt, step=1)
    return tmp_path / "good"


# Reading


@both_backends
def test_a_file_cut_anywhere_is_refused(backend: str, saved: Path) -> None:
    model, opt = model_and_optimizer(backend)
    whole, cut = saved.read_bytes(), saved.with_name("cut")
    for length in range(0, len(whole), STRIDE):
        cut.write_bytes(whole[:length])
        check_refused(cut, model, opt)


def test_a_damaged_header_is_refused_or_read(saved: Path) -> None:
    """Whatever one byte of the header becomes: a CheckpointError and no change, or a load."""
    model, opt = model_and_optimizer("numpy")
    whole, damaged = saved.read_bytes(), saved.with_name("damaged")
    header = int.from_bytes(whole[:8], "little") + 8
    for place in range(0, header, 3):
        damaged.write_bytes(whole[:place] + b"7" + whole[place + 1 :])
        before = everything(model, opt)
        try:
            tg.load_checkpoint(damaged, model=model, optimizer=opt)
        except CheckpointError:
            for name, value in everything(model, opt).items():
                np.testing.assert_array_equal(value, before[name], name)


@both_backends
def test_another_models_checkpoint_is_refused(backend: str, saved: Path) -> None:
    """Whether the model differs, the optimizer, or the number of parameters it looks after."""
    wider, its_opt = model_and_optimizer(backend, width=4)
    check_refused(saved, wider, its_opt)
    model, opt = model_and_optimizer(backend)
    check_refused(saved, model, tg.SGD(model.parameters()), "state of adamw, not of sgd")
    check_refused(saved, model, tg.AdamW(list(model.parameters())[:2]), "sizes")
    before = everything(model, opt)
    with pytest.raises(CheckpointError, match=r"0\.weight must have shape"):
        tg.load_checkpoint(saved, model=wider)
    assert everything(model, opt).keys() == before.keys()


@both_backends
def test_an_optimizer_is_given_back_its_state_if_the_model_does_not_fit(
    backend: str, saved: Path
) -> None:
    """The optimizer fits and is loaded first; then the model is refused, and both stay."""
    model, opt = model_and_optimizer(backend)
    renamed = tg.build(tg.ModuleList([tg.Tanh(), *_layers()]), backend)
    before = opt.state_dict()
    with pytest.raises(CheckpointError, match="names differ"):
        tg.load_checkpoint(saved, model=renamed, optimizer=opt)
    assert opt.state_dict()["state"].keys() == before["state"].keys()
    for number, entries in before["state"].items():
        for name, value in entries.items():
            kept = opt.state_dict()["state"][number][name]
            np.testing.assert_array_equal(tg.to_numpy(kept), tg.to_numpy(value))
    assert model.training


def _layers() -> list[tg.Module]:
    return [tg.Linear(2, 3), tg.Linear(3, 1)]


@both_backends
def test_what_is_no_checkpoint_is_refused(backend: str, tmp_path: Path) -> None:
    model, opt = model_and_optimizer(backend)
    check_refused(tmp_path / "absent", model, opt, "no such file")
    check_refused(tmp_path, model, opt, "no such file")
    (tmp_path / "text").write_text("0.5,1.5\n" * 100)
    check_refused(tmp_path / "text", model, opt, "damaged or no checkpoint")
    (tmp_path / "empty").touch()
    check_refused(tmp_path / "empty", model, opt, "damaged or no checkpoint")
    save_file({"0.weight": np.ones(3)}, tmp_path / "tensors")
    check_refused(tmp_path / "tensors", model, opt, "no twingrad checkpoint")


GOOD_NOTES = {"format": 1, "step": 0, "extra": {}, "draws": {}}
NOTES: dict[str, Any] = {
    "no JSON": "{",
    "a list": [],
    "another format": GOOD_NOTES | {"format": 2},
    "nothing": {"format": 1},
    "a step in words": GOOD_NOTES | {"step": "one"},
    "draws that are no numbers": GOOD_NOTES | {"draws": {"1": 5}},
    "no optimizer": GOOD_NOTES,
    "half an optimizer": GOOD_NOTES | {"optimizer": {"name": "adamw"}},
    "an optimizer that is a number": GOOD_NOTES | {"optimizer": 5},
    "groups that are no groups": GOOD_NOTES
    | {"optimizer": {"name": "adamw", "steps": {}, "param_groups": [{}]}},
}


@both_backends
@pytest.mark.parametrize("notes", NOTES)
def test_notes_that_make_no_sense_are_refused(backend: str, notes: str, tmp_path: Path) -> None:
    model, opt = model_and_optimizer(backend)
    arrays = {f"model.{name}": tg.to_numpy(x) for name, x in model.state_dict().items()}
    found = NOTES[notes]
    text = found if isinstance(found, str) else json.dumps(found)
    save_file(arrays, tmp_path / "c", metadata={"twingrad": text})
    check_refused(tmp_path / "c", model, opt)


def test_a_checkpoint_without_an_optimizer_says_so(tmp_path: Path) -> None:
    model, opt = model_and_optimizer("numpy")
    tg.save_checkpoint(tmp_path / "c", model=model)
    check_refused(tmp_path / "c", model, opt, "it holds no optimizer state")
    assert tg.load_checkpoint(tmp_path / "c", model=model).step == 0


# Writing


def fail(*args: Any, **kwargs: Any) -> Any:
    raise OSError(28, "No space left on device")


FAILURES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "fsync": lambda patch: patch.setattr(os, "fsync", fail),
    "rename": lambda patch: patch.setattr(Path, "replace", fail),
    "making the file": lambda patch: patch.setattr(tempfile, "mkstemp", fail),
}


@both_backends
@pytest.mark.parametrize("failure", FAILURES)
def test_a_write_that_fails_leaves_the_old_file(
    backend: str, failure: str, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file keeps its bytes, no temporary file stays, and the error says what was wrong."""
    old = saved.read_bytes()
    model, opt = model_and_optimizer(backend, seed=2)
    with monkeypatch.context() as patch:
        FAILURES[failure](patch)
        with pytest.raises(OutputError, match=r"cannot write .*good: No space left on device$"):
            tg.save_checkpoint(saved, model=model, optimizer=opt)
    assert saved.read_bytes() == old
    assert [path.name for path in saved.parent.iterdir()] == ["good"]
    tg.save_checkpoint(saved, model=model, optimizer=opt)
    assert saved.read_bytes() != old


@pytest.mark.parametrize("place", ["a folder", "below a file", "a folder to read only"])
def test_a_place_that_cannot_be_written_is_an_output_error(place: str, tmp_path: Path) -> None:
    model, _ = model_and_optimizer("numpy")
    (tmp_path / "file").write_text("mine")
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    paths = {"a folder": tmp_path, "below a file": tmp_path / "file" / "c"}
    path = paths.get(place, folder / "c")
    # Who may do everything (root) may write here too, so the law is tried where it cannot:
    # /proc takes files from nobody.
    if place == "a folder to read only" and os.access(folder, os.W_OK):
        path = Path("/proc/c")
    with pytest.raises(OutputError, match="cannot write"):
        tg.save_checkpoint(path, model=model)
    assert (tmp_path / "file").read_text() == "mine"
    assert list(folder.iterdir()) == []


def test_folders_on_the_way_are_made_and_the_file_is_the_users(tmp_path: Path) -> None:
    model, _ = model_and_optimizer("numpy")
    tg.save_checkpoint(tmp_path / "a" / "b" / "c", model=model)
    (tmp_path / "plain").touch()
    made, plain = (tmp_path / "a" / "b" / "c").stat(), (tmp_path / "plain").stat()
    assert made.st_mode == plain.st_mode


def test_extras_that_json_cannot_hold_are_refused(tmp_path: Path) -> None:
    model, _ = model_and_optimizer("numpy")
    with pytest.raises(CheckpointError, match="extra must be what JSON can hold"):
        tg.save_checkpoint(tmp_path / "c", model=model, extra={"a": {1, 2}})
    assert list(tmp_path.iterdir()) == []
    tg.save_checkpoint(tmp_path / "c", model=model, extra={"a": np.float32(0.5)}, step=3)
    found = tg.load_checkpoint(tmp_path / "c", model=model)
    assert (found.step, found.extra) == (3, {"a": 0.5})


def test_a_recipe_has_no_state_to_save(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="recipe without parameters"):
        tg.save_checkpoint(tmp_path / "c", model=tg.Linear(1, 1))


# Never pickle

PICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
SOURCES = [
    *PACKAGE.glob("*.py"),
    *(
        path
        for folder in ("core", "models", "backends", "parity_tests", "benchmarks")
        for path in (PACKAGE / folder).rglob("*.py")
    ),
]


def test_nothing_in_the_package_pickles() -> None:
    """No module is imported that pickles, and neither torch nor NumPy is asked to."""
    assert len(SOURCES) > 50
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name.partition(".")[0] for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [(node.module or "").partition(".")[0]]
            elif isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in {"torch.save", "torch.load"}, path
                allowed = [k.value for k in node.keywords if k.arg == "allow_pickle"]
                assert all(ast.unparse(value) == "False" for value in allowed), path
            assert not PICKLERS & set(names), path


def test_a_tensor_refuses_to_be_pickled() -> None:
    import pickle

    with pytest.raises(TypeError, match="save_checkpoint"):
        pickle.dumps(tg.tensor(np.ones(1), "numpy"))
