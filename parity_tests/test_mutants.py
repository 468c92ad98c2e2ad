"""The laws notice: a sample of all mutants, and what is claimed of mutants, operators and judge."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import typer

from twingrad.core.errors import SettingError, UnknownNameError
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.runs.mutants import command, judge, run
from twingrad.parity_tests.runs.mutants.judge import Judge, Verdict
from twingrad.parity_tests.runs.mutants.kernels import kernel_files, reached, roots
from twingrad.parity_tests.runs.mutants.mutant import (
    Mutant,
    executed,
    installed,
    mutants,
    sample,
    subjects,
)
from twingrad.parity_tests.runs.mutants.operators import FAMILIES, OPERATORS
from twingrad.parity_tests.runs.mutants.survivors import reasons, stale

ENOUGH = 1500  # mutants in all
SAMPLED = 80
EXAMPLES = 8  # of each law; what survives them is tried on many more


@pytest.fixture(scope="module")
def all_mutants() -> list[Mutant]:
    return [mutant for kernel in kernel_files() for mutant in mutants(kernel)]


@pytest.fixture(scope="module")
def judge_of_few(seed: int) -> Judge:
    return Judge(EXAMPLES, seed)


@pytest.fixture(scope="module")
def seed(session: Session) -> int:
    return session.options.seed or 0


def can_be_executed(mutant: Mutant) -> bool:
    """Whether a mutant gets as far as the laws: a constant may be 1 / 0, or -() of a tuple."""
    try:
        executed(mutant)
    except Exception:
        return False
    return True


def test_every_kernel_and_every_operator_has_mutants(all_mutants: list[Mutant]) -> None:
    assert len(all_mutants) >= ENOUGH
    assert {mutant.kernel for mutant in all_mutants} == set(kernel_files())
    assert {mutant.operator for mutant in all_mutants} == set(OPERATORS)
    assert {OPERATORS[mutant.operator].family for mutant in all_mutants} == set(FAMILIES)
    assert {name for mutant in all_mutants for name in subjects(mutant)} == {*roots()}


def test_every_function_of_the_kernels_has_mutants(all_mutants: list[Mutant]) -> None:
    mutated = {(mutant.module, mutant.function) for mutant in all_mutants}
    for start in roots().values():
        for root in start:
            for function in reached(root):
                assert (function.__module__, function.__name__) in mutated


def test_no_two_mutants_are_the_same(all_mutants: list[Mutant], seed: int) -> None:
    assert len({mutant.key for mutant in all_mutants}) == len(all_mutants)
    for mutant in sample(all_mutants, SAMPLED, seed):
        assert mutant.original != mutant.mutated
        source = Path(str(import_module(mutant.module).__file__)).read_bytes()
        wrong = source[: mutant.start] + mutant.text.encode() + source[mutant.end :]
        assert ast.dump(ast.parse(wrong)) != ast.dump(ast.parse(source))


def test_the_honest_kernels_are_back_after_a_mutant(all_mutants: list[Mutant], seed: int) -> None:
    constants = [mutant for mutant in all_mutants if not mutant.function]
    for mutant in (*sample(all_mutants, SAMPLED, seed), *constants[:5]):
        if not can_be_executed(mutant):
            continue
        module = import_module(mutant.module)
        name = mutant.function or mutant.original.split(" = ")[0]
        held = getattr(module, name, None)
        before = getattr(held, "__code__", held)
        with installed(mutant):
            now = getattr(module, name, None)
            assert not mutant.function or now is held
            assert not mutant.function or getattr(now, "__code__", None) is not before
        assert getattr(module, name, None) is held
        assert getattr(held, "__code__", held) is before


def test_a_sample_of_the_mutants_is_killed(
    all_mutants: list[Mutant], judge_of_few: Judge, seed: int
) -> None:
    drawn = sample(all_mutants, SAMPLED, seed)
    alive = [
        mutant
        for mutant in drawn
        if mutant.key not in reasons() and not judge_of_few.judge(mutant).killed
    ]
    # A rare case may be all that tells: who survives meets the cases of a whole run.
    whole = Judge(command.EXAMPLES, 0)
    alive = [mutant for mutant in alive if not whole.judge(mutant).killed]
    assert not alive, "\n".join(
        f"{mutant.file}:{mutant.line} {mutant.operator}: {mutant.original} -> {mutant.mutated}"
        for mutant in alive
    )


@pytest.mark.parametrize("kernel", ["relu", "sums"])
def test_the_honest_kernels_are_not_killed(kernel: str, seed: int) -> None:
    """A mutant that changes nothing comes through every law that runs its lines."""
    for mutant in mutants(kernel)[:1]:
        source = Path(str(import_module(mutant.module).__file__)).read_bytes()
        honest = replace(mutant, text=source[mutant.start : mutant.end].decode(), mutated="")
        judge_of_two = Judge(2, seed)
        assert not judge_of_two.judge(honest).killed
        assert not judge_of_two.broken


def test_a_mutant_that_never_ends_is_stopped(
    monkeypatch: pytest.MonkeyPatch, judge_of_few: Judge
) -> None:
    monkeypatch.setattr(judge, "TOO_LONG", 0.2)
    monkeypatch.setattr(judge, "SLOWER", 0)
    mutant = next(mutant for mutant in mutants("relu") if mutant.function == "forward")
    text = "np.array([x for _ in iter(int, 1)])"
    endless = replace(mutant, text=text, mutated=text)
    assert judge_of_few.judge(endless).kind == judge.TIMEOUT


def test_every_reason_belongs_to_a_mutant(all_mutants: list[Mutant]) -> None:
    assert stale(all_mutants) == []
    for key, reason in reasons().items():
        assert len(reason.split()) >= 4, key


def test_the_command_tells_and_writes_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mutants.json"
    command.mutants(layers="relu", operators="where,compare", jobs=1, json=file)
    printed = capsys.readouterr().out
    written = json.loads(file.read_text(encoding="utf-8"))
    killed = written["totals"]["killed"]
    assert f"{written['totals']['mutants']} mutants: {killed} killed" in printed
    assert written["schema"] == run.SCHEMA
    assert list(written["matrix"]) == ["relu"]
    assert sum(cell[0] for cell in written["matrix"]["relu"].values()) == killed
    assert sum(written["by_law"].values()) == killed
    assert killed + len(written["survivors"]) == written["totals"]["mutants"]


def test_a_survivor_without_a_reason_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Judge, "judge", lambda self, mutant, thorough=True: Verdict("", "", 0.0))
    monkeypatch.setattr(run, "reasons", dict)
    with pytest.raises(typer.Exit) as ended:
        command.mutants(layers="relu", some=1, jobs=1)
    assert ended.value.exit_code == 1
    assert "NOT JUSTIFIED" in capsys.readouterr().out


def test_a_wrong_call_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown kernel 'nonsense'"):
        command.mutants(layers="nonsense")
    with pytest.raises(UnknownNameError, match="unknown operator 'nonsense'"):
        command.mutants(operators="nonsense")
    with pytest.raises(SettingError, match="--jobs must be"):
        command.mutants(jobs=-1)
    with pytest.raises(SettingError, match="--sample must be"):
        command.mutants(some=0)
    with pytest.raises(SettingError, match="seed must be"):
        command.mutants(seed=-1)
    with pytest.raises(SettingError, match="no mutant to judge"):
        command.mutants(layers="relu", operators="diagonal")
