"""What is measured of a layer comes from its spec, and what is special about it from its page."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from twingrad.benchmarks import bench_layers, bench_optimizers
from twingrad.benchmarks.lengths import PLANES, by_rule, lengths_of
from twingrad.core.catalogue import LAYERS
from twingrad.core.spec import LayerSpec

RESULTS = sorted((Path(__file__).parent.parent / "benchmarks" / "results").glob("*.json"))

# What another package's layers are made of: RMS norm by hand, and in torch.
KERNELS = """
from types import SimpleNamespace

import numpy as np

from twingrad.core.catalogue import register_layer, register_optimizer
from twingrad.core.spec import LayerSpec, Number, OptimizerSpec


def rms_norm(x, weight, eps=1e-5):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def forward(x, weight, eps):
    root = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    return x * root * weight, (x, weight, root)


def backward(grad_y, saved):
    x, weight, root = saved
    hat, grad = x * root, grad_y * weight
    grad_weight = (grad_y * hat).reshape(-1, x.shape[-1]).sum(axis=0)
    return root * (grad - hat * (grad * hat).mean(-1, keepdims=True)), grad_weight


def on_torch(x, weight, eps=1e-5):
    return x * (x * x).mean(-1, keepdim=True).add(eps).rsqrt() * weight


def register(name, **pages):
    spec = LayerSpec(
        name=name,
        formula="y = x / rms(x) * weight",
        inputs={"x": "... d", "weight": "d"},
        output="... d",
        source="Zhang and Sennrich 2019, arXiv:1910.07467",
        definition=rms_norm,
        settings={"eps": Number(1e-5, low=0.0)},
    )
    register_layer(spec, pages)


by_hand = SimpleNamespace(forward=forward, backward=backward)
"""
WHOLE = 'register("rms_norm", numpy=by_hand, torch=SimpleNamespace(forward=on_torch))\n'
ON_NUMPY = 'register("on_numpy", numpy=by_hand)\n'
NOWHERE = 'register("nowhere")\n'
PAGED = """
bench = SimpleNamespace(
    LENGTHS={"small": {"...": (2, 3), "d": (5,)}},
    torch_plain=lambda: on_torch,
    flops=lambda lengths, settings: 1e9 * lengths["d"][0],
)
register("paged", numpy=by_hand, bench=bench)
"""
MISREAD = """
bench = SimpleNamespace(LENGTHS={"small": {"...": (2,)}})
register("misread", numpy=by_hand, bench=bench)
"""
OPTIMIZER = """
def sign_descent(weight, grad, state, step, *, lr):
    return weight - lr * np.sign(grad), {}


def step(weight, grad, state, step, *, lr):
    weight -= lr * np.sign(grad)
    return ()


spec = OptimizerSpec(
    name="sign_descent",
    recurrence=("weight = weight - lr * sign(grad)",),
    state=(),
    source="Bernstein et al. 2018, arXiv:1802.04434",
    definition=sign_descent,
    settings={"lr": Number(1e-3, low=0.0)},
)
register_optimizer(spec, {"numpy": SimpleNamespace(step=step)})
"""


class Bench:
    """Runs `twingrad bench` in processes of their own: what they register is not known here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, *parts: str) -> str:
        """Write a file that registers layers and optimizers; return its name."""
        (self.folder / "strangers.py").write_text("\n".join([KERNELS, *parts]), encoding="utf-8")
        return "./strangers.py"

    def run(self, *arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
        program = f"{before}\nfrom twingrad.cli import main\nmain()"
        command = [sys.executable, "-P", "-c", program, "bench", "--size", "small"]
        return subprocess.run(
            [*command, "--repeats", "1", *arguments],
            cwd=self.folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    def rows(self, *arguments: str) -> tuple[list[dict[str, Any]], str]:
        """Return what was measured, and what was printed."""
        done = self.run(*arguments, "--json", "bench.json")
        assert done.returncode == 0, done.stderr
        return json.loads((self.folder / "bench.json").read_text(encoding="utf-8"))[
            "rows"
        ], done.stdout

    def refused(self, *arguments: str) -> str:
        """Return the one line with which a call is refused."""
        done = self.run(*arguments)
        assert done.returncode in (1, 2)
        (line,) = done.stderr.splitlines()
        return line


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_layer_of_another_package_is_measured(bench: Bench) -> None:
    """A file is all it takes: no page for the benchmarks, and no change of twingrad's."""
    rows, printed = bench.rows("--layers", bench.write(WHOLE))
    assert [(row["suite"], row["case"], row["backend"]) for row in rows] == [
        ("layers", f"rms_norm {passes}", backend)
        for passes in ("forward", "forward+backward")
        for backend in ("numpy", "torch")
    ]
    assert {row["work"] for row in rows} == {"float32, 64, d 256"}
    assert all(row["median_s"] > 0 and row["bound_s"] > 0 for row in rows)
    assert "not measured" not in printed


def test_what_pages_say_is_used_and_what_lacks_is_left_out(bench: Bench) -> None:
    names = f"{bench.write(ON_NUMPY, PAGED, OPTIMIZER)},tanh"
    rows, printed = bench.rows("--layers", names)
    expected = {
        "on_numpy": ("numpy",),
        "paged": ("numpy", "torch-plain"),
        "tanh": ("numpy", "torch", "torch-plain"),
    }
    assert [(row["case"], row["backend"]) for row in rows] == [
        (f"{name} {passes}", backend)
        for name, backends in expected.items()
        for passes in ("forward", "forward+backward")
        for backend in backends
    ] + [("sign_descent step", "numpy")]
    paged = [row for row in rows if row["case"].startswith("paged")]
    assert {row["work"] for row in paged} == {"float32, 2x3, d 5"}
    forward, both = (row["bound_s"] for row in paged if row["backend"] == "numpy")
    assert both == pytest.approx(3 * forward)
    for name in ("on_numpy", "paged", "sign_descent"):
        assert f"not measured: {name} on torch, which has no page for it" in printed


def test_what_cannot_be_measured_is_refused(bench: Bench) -> None:
    line = bench.refused("--layers", bench.write(NOWHERE))
    assert "--layers nowhere: there is no page for it on numpy and torch" in line
    line = bench.refused("--layers", bench.write(MISREAD))
    assert "LENGTHS['small'] of its bench page must have a tuple of lengths for 'd'" in line
    assert "no such file" in bench.refused("--layers", "./missing.py")


def test_an_optimizer_is_named_like_a_layer(bench: Bench) -> None:
    rows, _ = bench.rows("--layers", "sgd", "--backend", "numpy")
    assert [row["case"] for row in rows] == ["sgd step", "sgd momentum step"]
    assert "--suite optimizers" in bench.refused("--suite", "layers", "--layers", "sgd")


def test_numpy_alone_loads_no_other_library(bench: Bench) -> None:
    """The pages name torch and JAX, and import neither until it is measured."""
    done = bench.run(
        "--suite", "layers,optimizers", "--backend", "numpy",
        before="import atexit, sys\n"
        "atexit.register(lambda: print('loaded:', {'torch', 'jax'} & {*sys.modules}))",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("loaded: set()\n")


@pytest.mark.parametrize("size", PLANES)
@pytest.mark.parametrize(
    ("inputs", "indices"),
    [
        ({"x": "..."}, {}),
        ({"x": "... d", "weight": "d"}, {}),
        ({"x": "... in", "weight": "out in"}, {}),
        ({"query": "... q d", "key": "... k d", "mask": "... q k"}, {}),
        ({"x": "... a", "y": "... b", "weight": "out a b"}, {}),
        ({"x": "n n"}, {}),
        ({"ids": "...", "table": "n d"}, {"ids": "n"}),
    ],
)
def test_the_rule_has_a_length_for_every_dimension(
    inputs: dict[str, str], indices: dict[str, str], size: str
) -> None:
    """No array is larger than an elementwise layer's, and the largest is not much smaller."""
    spec = LayerSpec(
        name="any",
        formula="",
        inputs=inputs,
        indices=indices,
        output=next(iter(inputs.values())),
        source="",
        definition=lambda *arrays: arrays[0],
    )
    lengths = by_rule(spec, size)
    most = math.prod(PLANES[size])
    counts = [
        math.prod(length for dim in text.split() for length in lengths[dim])
        for text in inputs.values()
    ]
    assert max(counts) <= most
    if any("..." in text for text in inputs.values()):
        assert max(counts) > most / 8


@pytest.mark.parametrize("name", LAYERS)
def test_the_lengths_of_our_own_cover_every_dimension(name: str) -> None:
    for size in PLANES:
        assert all(min(shape) > 0 for shape in lengths_of(LAYERS[name], size).values())


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_committed_results_are_of_the_same_work_as_today(path: Path) -> None:
    """A number is compared with an older one only where both are of the same arrays."""
    document = json.loads(path.read_text(encoding="utf-8"))
    request = document["environment"]["bench"]
    for suite, module in (("layers", bench_layers), ("optimizers", bench_optimizers)):
        if suite in request["suites"]:
            found = {
                (row["case"], row["work"]) for row in document["rows"] if row["suite"] == suite
            }
            benchmarks = module.benchmarks(request["size"], request["dtype"], ("numpy",))
            assert found == {(each.name, each.work) for each in benchmarks}
