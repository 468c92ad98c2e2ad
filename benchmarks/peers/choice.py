"""Which other libraries are measured beside twingrad."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from twingrad.benchmarks.measure import Call
from twingrad.benchmarks.pages import peers_of
from twingrad.core.errors import MissingPackageError, UnknownNameError


@dataclass(frozen=True)
class Peer:
    """A library to compare with: what it is imported as, and what it needs."""

    module: str
    extra: str  # of twingrad, which installs it
    compiler: str | None = None  # the program that it runs to compile
    compiler_variable: str = ""  # names another one

    def missing(self) -> str | None:
        """Return what keeps it from being measured here, and the remedy; None if nothing does."""
        if find_spec(self.module) is None:
            return f"it is not installed; install it with: pip install 'twingrad[{self.extra}]'"
        if self.compiler is None or self.compiler_variable in os.environ:
            return None
        if shutil.which(self.compiler) is None:
            return (
                f"it needs the compiler {self.compiler}, which is not on the PATH; install it or "
                f"name another one in the variable {self.compiler_variable}"
            )
        return None


PEERS = {
    "torch-plain": Peer("torch", "torch"),
    "torch-fused": Peer("torch", "torch"),
    "torch-compile": Peer("torch", "torch", "g++", "CXX"),
    "jax": Peer("jax", "peers"),
    "autograd": Peer("autograd", "peers"),
    "mygrad": Peer("mygrad", "peers"),
    "tinygrad": Peer("tinygrad", "peers", "clang", "CC"),
}


def installed() -> tuple[str, ...]:
    """Return the peers that can be measured here."""
    return tuple(name for name, peer in PEERS.items() if peer.missing() is None)


def chosen(names: Iterable[str] | None, backends: tuple[str, ...]) -> tuple[str, ...]:
    """Return the peers of these names in the order of PEERS; "all" is those installed.

    Without names it is torch-plain, where torch is measured. Raises MissingPackageError for a peer
    that cannot be measured here, UnknownNameError for an unknown one.
    """
    if names is None:
        return ("torch-plain",) if "torch" in backends else ()
    wanted: set[str] = set()
    for name in names:
        if name == "all":
            wanted.update(installed())
        elif name in PEERS:
            reason = PEERS[name].missing()
            if reason is not None:
                raise MissingPackageError(f"--peers {name}: {reason}")
            wanted.add(name)
        elif name != "none":
            raise UnknownNameError("peer", name, (*PEERS, "all", "none"))
    return tuple(name for name in PEERS if name in wanted)


def prepare_peers(
    makers: Mapping[str, str], peers: Iterable[str], *work: Any
) -> dict[str, Callable[[], Call]]:
    """Return how to make ready `work` on each of `peers` that has a maker: "module:function".

    The module is imported only when the call is made ready.
    """
    return {peer: partial(_call, makers[peer], *work) for peer in peers if peer in makers}


def prepare_paged(
    makers: Mapping[str, str], peers: Iterable[str], name: str, work: Any
) -> dict[str, Callable[[], Call]]:
    """Return the same of those peers that the page of a layer or an optimizer knows, too."""
    known = peers_of(name, [peer for peer in peers if peer in makers])
    return {peer: partial(_paged, makers[peer], load, work) for peer, load in known.items()}


def _paged(maker: str, load: Callable[[], Any], work: Any) -> Call:
    return _call(maker, load(), work)


def _call(maker: str, *work: Any) -> Call:
    module, _, function = maker.partition(":")
    call: Call = getattr(import_module(f"twingrad.benchmarks.peers.{module}"), function)(*work)
    return call
