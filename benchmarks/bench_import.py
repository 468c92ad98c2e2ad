"""How long a fresh interpreter takes to import a library, and the command line to say --help."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from twingrad.benchmarks.measure import Benchmark, Call
from twingrad.benchmarks.peers.choice import PEERS

BARE = "pass"
OURS = "import sys, twingrad; assert 'torch' not in sys.modules, 'torch was imported'"
HELP = "import sys; sys.argv = ['twingrad', '--help']; from twingrad.cli import main; main()"
WORK = "in a fresh interpreter, less a bare one"


def benchmarks(
    size: str, dtype: str, backends: tuple[str, ...], peers: tuple[str, ...] = ()
) -> Iterator[Benchmark]:
    """Yield the imports beside each other, and --help; neither depends on size and dtype."""
    modules: dict[str, str] = {}
    for peer in peers:
        # Of several ways to call one library the first stands for its import.
        if PEERS[peer].module not in modules.values():
            modules[peer] = PEERS[peer].module
    imports = {peer: partial(interpreter, f"import {name}") for peer, name in modules.items()}
    ours = {"numpy": partial(interpreter, OURS)} if "numpy" in backends else {}
    yield _case("import", ours | imports)
    if ours:
        yield _case("twingrad --help", {"numpy": partial(interpreter, HELP)})


def interpreter(program: str) -> Call:
    """Return what runs a program in an interpreter of its own, and raises if it fails."""
    return partial(_run, program)


def _run(program: str) -> None:
    # Without -P the current folder would be first on the path, and what lies there be imported.
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{program!r} failed: {done.stderr.strip().splitlines()[-1:]}")


def _case(name: str, prepare: Mapping[str, Callable[[], Call]]) -> Benchmark:
    return Benchmark("import", name, WORK, prepare, baseline=interpreter(BARE), has_peak=False)
