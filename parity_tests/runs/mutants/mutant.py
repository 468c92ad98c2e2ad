"""A mutant: one file of a kernel with one thing wrong, made by the operators and put in place."""

from __future__ import annotations

import ast
import itertools
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from twingrad.core.catalogue import rehearsal
from twingrad.parity_tests.runs.mutants.kernels import (
    KernelFile,
    kernel_files,
    modules_with,
    names_in,
    reached,
    roots,
)
from twingrad.parity_tests.runs.mutants.operators import OPERATORS, Edit, Scope


@dataclass(frozen=True)
class Mutant:
    """One file of a kernel with one thing wrong."""

    kernel: str  # the name of the file
    module: str
    function: str  # "" for a constant of the module
    operator: str
    line: int
    lines: tuple[int, int]  # of the statement that it stands in
    original: str  # the source line, or lines, without indentation
    mutated: str
    start: int = field(compare=False)  # bytes in the file
    end: int = field(compare=False)
    text: str = field(compare=False)  # what stands there instead

    @property
    def file(self) -> str:
        """The file, from the top of the repository, or of the package that it belongs to."""
        return self.module.removeprefix("twingrad.").replace(".", "/") + ".py"

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """What stays the same when other lines of the file change."""
        return (self.file, self.function, self.operator, self.original, self.mutated)


@cache
def mutants(kernel: str) -> tuple[Mutant, ...]:
    """Return every mutant of one kernel's files, in the order of their lines."""
    files = kernel_files()[kernel]
    return tuple(mutant for file in files for mutant in _mutants_of(kernel, file))


def sample(chosen: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """Return some of the mutants, drawn at random, in their own order."""
    positions = random.Random(seed).sample(range(len(chosen)), min(count, len(chosen)))
    return [chosen[position] for position in sorted(positions)]


def _mutants_of(kernel: str, file: KernelFile) -> Iterator[Mutant]:
    module = import_module(file.module)
    source = _source(module)
    used = _names_used(module, file)
    for top in ast.parse(source).body:
        if isinstance(top, ast.FunctionDef):
            if file.functions is not None and top.name not in file.functions:
                continue
            where, function = top.name, top
        elif isinstance(top, ast.Assign) and _constants(module, top, used):
            where, function = "", None
        else:
            continue
        scope = Scope(function, _named_constants(module))
        seen = {ast.dump(top)}
        for node in _mutable_nodes(top, scope):
            for operator, (_, look) in OPERATORS.items():
                for edit in look(node, scope):
                    mutant = _written(kernel, module, source, operator, where, edit, scope)
                    wrong = ast.dump(_edited_statement(source, mutant, top))
                    if wrong not in seen:
                        seen.add(wrong)
                        yield mutant


def _names_used(module: ModuleType, file: KernelFile) -> set[str] | None:
    """Return the names that the kernels of a file use, or None if the whole file is theirs."""
    if file.functions is None:
        return None
    if file.module.startswith("twingrad."):
        return set()  # a definition's page: its constants are no kernel's
    codes = [vars(module)[name].__code__ for name in file.functions]
    return {name for code in codes for name in names_in(code)}


def _mutable_nodes(top: ast.stmt, scope: Scope) -> Iterator[ast.AST]:
    """Yield the nodes that compute something: no docstrings, annotations, defaults, messages."""
    waiting: list[ast.AST] = list(top.body) if isinstance(top, ast.FunctionDef) else [top]
    for node in waiting:
        scope.parents[node] = top
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.Raise) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            continue
        yield_later = [
            child
            for name, value in ast.iter_fields(node)
            if name not in ("annotation", "returns", "ctx", "op", "ops")
            for child in (value if isinstance(value, list) else [value])
            if isinstance(child, ast.AST)
        ]
        for child in yield_later:
            scope.parents[child] = node
        waiting = yield_later + waiting
        yield node


def _written(
    kernel: str,
    module: ModuleType,
    source: bytes,
    operator: str,
    function: str,
    edit: Edit,
    scope: Scope,
) -> Mutant:
    starts = _starts(source)
    node: Any = edit.node
    last: Any = edit.until or node
    if isinstance(node, ast.comprehension | ast.arguments):
        raise TypeError(f"{type(node).__name__} has no place in the text")
    start = starts[node.lineno - 1] + node.col_offset
    end = starts[last.end_lineno - 1] + last.end_col_offset
    text = edit.text
    enclosed = source[start - 1 : start] == b"(" and source[end : end + 1] == b")"
    if isinstance(node, ast.expr) and not enclosed and not _stands_alone(text, node, scope):
        text = f"({text})"
    statement: Any = node
    while not isinstance(statement, ast.stmt):
        statement = scope.parents[statement]
    first, final = node.lineno, last.end_lineno
    before = source[starts[first - 1] : starts[final]]
    after = source[starts[first - 1] : start] + text.encode() + source[end : starts[final]]
    header = statement.body[0].lineno - 1 if hasattr(statement, "body") else statement.end_lineno
    return Mutant(
        kernel,
        module.__name__,
        function,
        operator,
        first,
        (statement.lineno, max(header, statement.lineno, last.end_lineno)),
        _on_one_line(before),
        _on_one_line(after),
        start,
        end,
        text,
    )


def _on_one_line(source: bytes) -> str:
    """Return some lines as one, without comments and indentation."""
    lines = (line.partition("  #")[0].strip() for line in source.decode().splitlines())
    return " ".join(line for line in lines if line)


def _stands_alone(text: str, node: ast.expr, scope: Scope) -> bool:
    """Whether the text needs no parentheses where the node stands."""
    operators = (ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.Attribute, ast.Subscript)
    parent = scope.parents.get(node)
    if not isinstance(parent, operators) and not isinstance(parent, ast.Starred | ast.IfExp):
        return True
    if isinstance(parent, ast.Subscript) and parent.slice is node:
        return True
    expression = ast.parse(text, mode="eval").body
    atoms = (ast.Name, ast.Call, ast.Attribute, ast.Subscript, ast.Tuple)
    positive = isinstance(expression, ast.Constant) and not isinstance(parent, ast.Attribute)
    return isinstance(expression, atoms) or positive


@cache
def _source(module: ModuleType) -> bytes:
    """Return the text of a module, as it was when it was first asked for."""
    return Path(str(module.__file__)).read_bytes()


def _edited(source: bytes, mutant: Mutant) -> bytes:
    return source[: mutant.start] + mutant.text.encode() + source[mutant.end :]


def _edited_statement(source: bytes, mutant: Mutant, top: ast.stmt) -> ast.stmt:
    """Return the mutated statement of the module; to parse the whole file again takes long."""
    starts = _starts(source)
    first, last = starts[top.lineno - 1], starts[top.end_lineno or 0]
    text = source[first : mutant.start] + mutant.text.encode() + source[mutant.end : last]
    return ast.parse(text).body[0]


@lru_cache(maxsize=1)
def _starts(source: bytes) -> list[int]:
    """Return where each line begins, and where the file ends."""
    return [0, *itertools.accumulate(map(len, source.splitlines(keepends=True)))]


def _constants(module: ModuleType, statement: ast.Assign, used: set[str] | None) -> bool:
    return all(
        isinstance(target, ast.Name)
        and _is_constant(getattr(module, target.id))
        and (used is None or target.id in used)
        for target in statement.targets
    )


def _named_constants(module: ModuleType) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if _is_constant(value)}


def _is_constant(value: Any) -> bool:
    """Whether a value of a module is a number, or a table of numbers."""
    if isinstance(value, tuple):
        return bool(value) and all(map(_is_constant, value))
    return type(value) in (int, float)


# Putting a mutant in place


@contextmanager
def installed(mutant: Mutant) -> Iterator[None]:
    """Run with the mutant in place of the honest code, whoever imported it and under any name.

    A function keeps its identity and gets other code; a constant is exchanged wherever a module
    of the backend holds it.
    """
    module = import_module(mutant.module)
    wrong = executed(mutant)
    honest: list[tuple[FunctionType, CodeType]] = []
    held: list[tuple[ModuleType, str, Any]] = []
    for name, value in wrong.items():
        old = vars(module).get(name)
        if isinstance(value, FunctionType) and name == mutant.function:
            assert isinstance(old, FunctionType)
            honest.append((old, old.__code__))
        elif _is_constant(value) and not mutant.function and value != old:
            held += [
                (place, name, old)
                for place in modules_with(mutant.module)
                if _holds(place, name, old)
            ]
    try:
        for function, _ in honest:
            function.__code__ = wrong[function.__name__].__code__
        for place, name, _ in held:
            setattr(place, name, wrong[name])
        yield
    finally:
        for function, code in honest:
            function.__code__ = code
        for place, name, old in held:
            setattr(place, name, old)


@lru_cache(maxsize=1)
def executed(mutant: Mutant) -> dict[str, Any]:
    """Return what the mutated file defines; raise what it raises when it is imported."""
    module = import_module(mutant.module)
    code = compile(_edited(_source(module), mutant), str(module.__file__), "exec")
    namespace: dict[str, Any] = {"__name__": mutant.module}
    with rehearsal():  # kernels may stand in the file that registers their layer
        exec(code, namespace)
    return namespace


def _holds(module: ModuleType, name: str, value: Any) -> bool:
    return vars(module).get(name) is value


# Which layers a mutant can change


def subjects(mutant: Mutant) -> tuple[str, ...]:
    """Return the layers, operations and optimizers whose kernels come by the mutated code."""
    return tuple(name for name, start in roots().items() if _comes_by(start, mutant))


def _comes_by(start: tuple[FunctionType, ...], mutant: Mutant) -> bool:
    functions = {function for root in start for function in reached(root)}
    if mutant.function:
        return getattr(import_module(mutant.module), mutant.function) in functions
    used = {name for function in functions for name in names_in(function.__code__)}
    return any(function.__module__ == mutant.module for function in functions) and bool(
        _changed_constants(mutant) & used
    )


def _changed_constants(mutant: Mutant) -> set[str]:
    constants = _named_constants(import_module(mutant.module))
    try:
        wrong = executed(mutant)
    except Exception:  # it cannot even be imported
        return set(constants)
    return {name for name, value in constants.items() if wrong.get(name) != value}
