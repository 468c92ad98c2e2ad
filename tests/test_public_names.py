"""The public face: the names that other programs rely on, and what importing them costs."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import twingrad as tg
from twingrad.core.module import Module

BACKENDS = ("numpy", "torch")
both_backends = pytest.mark.parametrize("backend", BACKENDS)

FUNCTIONS = (
    *("layers", "layer", "optimizers", "optimizer", "backends", "load_backend"),
    *("forward", "vjp", "optimizer_step", "build", "convert", "to_numpy", "no_grad"),
    *("save_checkpoint", "load_checkpoint"),
)
MODULES = (
    *("Module", "Linear", "Tanh", "Sigmoid", "ReLU", "GELU", "Softmax", "LayerNorm", "Dropout"),
    *("MultiHeadAttention", "Sequential", "ModuleList", "BCEWithLogitsLoss"),
)
OPTIMIZERS = ("AdamW", "SGD")
MODEL = (
    *("parameters", "named_parameters", "state_dict", "load_state_dict", "train", "eval"),
    *("zero_grad", "modules", "named_modules", "children", "named_children"),
)

EXAMPLE = """
import sys
import numpy as np
import twingrad as tg

backend = sys.argv[1]
x, w, b = np.ones((2, 3)), np.ones(3), np.zeros(3)
grad_y = np.ones((2, 3))
assert "gelu" in tg.layers() and tg.layer("gelu").name == "gelu"
assert "adamw" in tg.optimizers() and tg.optimizer("adamw").name == "adamw"
assert tg.backends()[backend] == "available" and tg.load_backend(backend).name == backend

y = tg.forward("layer_norm", {"x": x, "weight": w, "bias": b}, backend=backend, eps=1e-5)
y, grads = tg.vjp(
    "layer_norm", {"x": x, "weight": w, "bias": b}, grad_y, backend=backend, eps=1e-5
)
assert list(grads) == ["x", "weight", "bias"] and grads["x"].shape == x.shape

params, grads, state = {"w": w}, {"w": b + 1}, None
for _ in range(2):
    params, state = tg.optimizer_step(
        "adamw", params, grads, state, backend=backend,
        lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01,
    )

class Net(tg.Module):
    def __init__(self, in_dim):
        super().__init__()
        self.linear1, self.tanh1, self.linear2 = tg.Linear(in_dim, 5), tg.Tanh(), tg.Linear(5, 1)
    def forward(self, x):
        return self.linear2(self.tanh1(self.linear1(x)))

points = np.random.default_rng(0).uniform(-1, 1, (175, 2))
dataset = (points, (points.sum(1, keepdims=True) > 0).astype("float64"))

model = tg.build(Net(2), backend=backend, seed=0, dtype="float64", device=None)
loss_fn = tg.BCEWithLogitsLoss(reduction="mean")
opt = tg.AdamW(model.parameters(), lr=1e-3)
losses = []
for epoch in range(3):
    for x, y in tg.DataLoader(dataset, batch_size=50, shuffle=True, seed=0):
        loss = loss_fn(model(x), y)
        opt.zero_grad(); loss.backward(); opt.step()
        losses.append(float(loss))
assert tg.to_numpy(model(x)).shape == (25, 1)
sd = model.state_dict()
assert list(sd) == [name for name, _ in model.named_parameters()]
model.load_state_dict(sd); model.train(); model.eval()
with tg.no_grad():
    assert not model(x).requires_grad
other = tg.convert(model, backend="torch")
assert np.array_equal(tg.to_numpy(other.linear1.weight), tg.to_numpy(model.linear1.weight))
tg.save_checkpoint(sys.argv[2], model=model, optimizer=opt, step=12)
assert tg.load_checkpoint(sys.argv[2], model=model, optimizer=opt).step == 12
print(repr(losses[-1]))
"""


def run_python(*arguments: str) -> str:
    """Run Python on its own, warnings being errors, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONSAFEPATH": "1"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_promised_name_is_there() -> None:
    for name in FUNCTIONS:
        assert callable(getattr(tg, name)), name
    for name in (*MODULES, *OPTIMIZERS, "DataLoader", "LayerSpec", "OptimizerSpec", "Backend"):
        assert inspect.isclass(getattr(tg, name)), name


def test_all_is_true() -> None:
    """__all__ is sorted, names what is there, and leaves out nothing that was imported."""
    tree = ast.parse(Path(tg.__file__).read_text())
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    of_layers = set(tg.core.layers.__all__)  # imported by a star, from the list of contents
    assert set(tg.__all__) == (imported - {"*", "_layers", "links"}) | of_layers
    assert len(set(tg.__all__)) == len(tg.__all__)
    for name in tg.__all__:
        assert getattr(tg, name).__doc__, f"{name} has no docstring"


def test_backends_is_a_function_before_and_after_a_backend_is_loaded() -> None:
    """It shares its name with the folder of the backends, which Python binds on import."""
    program = """
import twingrad as tg
before = tg.backends()
tg.load_backend("numpy")
import twingrad.backends.numpy_backend as folder
assert tg.backends() == before and list(before)[:2] == ["numpy", "torch"]
print(folder.backend.name, before["numpy"])
"""
    assert run_python("-c", program) == "numpy available"


@both_backends
def test_a_model_has_the_promised_methods(backend: str) -> None:
    model = tg.build(tg.Sequential(tg.Linear(1, 1)), backend)
    for name in MODEL:
        assert callable(getattr(model, name)), name
    assert isinstance(model, Module)


TORCHS: dict[str, Any] = {name: getattr(torch.optim, name) for name in OPTIMIZERS} | {
    name: getattr(torch.nn, name)
    for name in MODULES
    if name not in ("Module", "MultiHeadAttention", "Sequential", "ModuleList")
}


@pytest.mark.parametrize("name", [*TORCHS])
def test_arguments_and_defaults_are_torchs(name: str) -> None:
    """Every argument has torch's name, place and default, as far as torch has that argument."""
    ours = inspect.signature(getattr(tg, name)).parameters
    theirs = inspect.signature(TORCHS[name]).parameters
    # Deprecated arguments of torch's losses and the in-place forms stand between; order is kept.
    assert [key for key in theirs if key in ours] == [*ours]
    for key, parameter in ours.items():
        if (name, key) == ("Softmax", "dim"):
            continue  # torch's None guesses an axis, and warns that nobody should rely on it
        assert parameter.default == theirs[key].default, key


def test_the_attention_module_has_torchs_arguments_too() -> None:
    ours, theirs = tg.MultiHeadAttention, torch.nn.MultiheadAttention
    for mine, its in ((ours, theirs), (ours.forward, theirs.forward)):
        found = inspect.signature(mine).parameters
        promised = inspect.signature(its).parameters
        assert [key for key in promised if key in found] == [*found]
        assert all(found[key].default == promised[key].default for key in found)


def test_the_example_runs_as_written_on_both_backends(tmp_path: Path) -> None:
    """In a process of its own, with every warning an error; the last losses agree."""
    ours, theirs = (
        float(run_python("-c", EXAMPLE, backend, str(tmp_path / backend))) for backend in BACKENDS
    )
    # Twelve steps of a few dozen roundings each, of numbers below 1.
    assert abs(ours - theirs) <= 12 * 64 * np.finfo(float).eps


def test_importing_twingrad_loads_no_more_than_it_needs() -> None:
    """Neither torch nor anything for plots, laws or the command line, even once a model trains."""
    program = """
import sys
import numpy as np
import twingrad as tg
model = tg.build(tg.Sequential(tg.Linear(2, 2), tg.GELU()), backend="numpy")
model(np.ones((1, 2), "float32")).sum().backward()
tg.AdamW(model.parameters()).step()
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
    loaded = set(run_python("-c", program).split())
    assert {"twingrad", "numpy"} <= loaded
    assert not loaded & {"torch", "matplotlib", "hypothesis", "pytest", "sklearn", "typer", "scipy"}


def test_the_bare_folder_is_not_a_package_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import core"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(tg.__file__).parent,
        timeout=60,
    )
    assert done.returncode == 1
    assert "import twingrad.core" in done.stderr


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert tg.__version__ == version("twingrad")
