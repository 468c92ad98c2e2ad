"""What is mutated: the files of the handwritten kernels, and how a wrong line is put in place."""

from __future__ import annotations

import ast
import itertools
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeGuard

from twingrad.backends import numpy_backend
from twingrad.backends.numpy_backend.kernels import KERNELS, OPTIMIZERS
from twingrad.parity_tests.runs.mutants.operators import OPERATORS, Edit, Scope

PACKAGE = numpy_backend.__name__
FOLDER = Path(numpy_backend.__file__).parent
# The tables, the tape and what runs kernels in blocks are under laws of their own.
NOT_KERNELS = ("__init__", "blocks", "dispatch", "flat", "kernels", "tape", "tensor")
# Written once for the kernel and for the definition, so it is mutated where it stands.
SHARED = {"attention": ("twingrad.core.layers.attention", ("visible_pairs",))}


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
        """The file, from the top of the repository."""
        return "/".join(self.module.split(".")[1:]) + ".py"

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """What stays the same when other lines of the file change."""
        return (self.file, self.function, self.operator, self.original, self.mutated)


def kernel_names() -> list[str]:
    """Return the names of the files that hold handwritten kernels."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in NOT_KERNELS)


@cache
def mutants(kernel: str) -> tuple[Mutant, ...]:
    """Return every mutant of one file, in the order of its lines."""
    found = list(_mutants_of(kernel, f"{PACKAGE}.{kernel}", None))
    if kernel in SHARED:
        module, functions = SHARED[kernel]
        found += _mutants_of(kernel, module, functions)
    return tuple(found)


def sample(chosen: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """Return some of the mutants, drawn at random, in their own order."""
    positions = random.Random(seed).sample(range(len(chosen)), min(count, len(chosen)))
    return [chosen[position] for position in sorted(positions)]


def _mutants_of(
    kernel: str, module_name: str, functions: tuple[str, ...] | None
) -> Iterator[Mutant]:
    module = import_module(module_name)
    source = _source(module)
    for top in ast.parse(source).body:
        if isinstance(top, ast.FunctionDef) and (functions is None or top.name in functions):
            where, function = top.name, top
        elif isinstance(top, ast.Assign) and functions is None and _constants(module, top):
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


def _constants(module: ModuleType, statement: ast.Assign) -> bool:
    return all(
        isinstance(target, ast.Name) and _is_constant(getattr(module, target.id))
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
            held += [(place, name, old) for place in _backend_modules() if _holds(place, name, old)]
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
    exec(code, namespace)
    return namespace


def _backend_modules() -> list[ModuleType]:
    return [module for name, module in sys.modules.items() if name.startswith(f"{PACKAGE}.")]


def _holds(module: ModuleType, name: str, value: Any) -> bool:
    return vars(module).get(name) is value


# Which layers a mutant can change


def subjects(mutant: Mutant) -> tuple[str, ...]:
    """Return the layers, operations and optimizers whose kernels come by the mutated code."""
    roots: dict[str, tuple[Any, ...]] = {
        **{name: tuple(filter(None, kernel)) for name, kernel in KERNELS.items()},
        **{name: (step,) for name, step in OPTIMIZERS.items()},
    }
    return tuple(name for name, start in roots.items() if _comes_by(start, mutant))


def _comes_by(start: tuple[Any, ...], mutant: Mutant) -> bool:
    functions = {function for root in start for function in reached(root)}
    if mutant.function:
        return getattr(import_module(mutant.module), mutant.function) in functions
    used = {name for function in functions for name in _names(function.__code__)}
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


@cache
def reached(root: FunctionType) -> frozenset[FunctionType]:
    """Return the functions of the backend that a function calls, itself included."""
    found: set[FunctionType] = set()
    waiting = [root]
    while waiting:
        function = waiting.pop()
        if function in found:
            continue
        found.add(function)
        names = _names(function.__code__)
        for name in names:
            value = function.__globals__.get(name)
            values = [getattr(value, other, None) for other in names] if _is_ours(value) else []
            waiting += filter(_is_mutable, (value, *values))
    return frozenset(found)


def _is_ours(value: Any) -> bool:
    return isinstance(value, ModuleType) and value.__name__.startswith(PACKAGE)


def _is_mutable(value: Any) -> TypeGuard[FunctionType]:
    if not isinstance(value, FunctionType):
        return False
    package, _, name = value.__module__.rpartition(".")
    is_kernel = package == PACKAGE and name not in NOT_KERNELS
    return is_kernel or value.__module__ in {module for module, _ in SHARED.values()}


def _names(code: CodeType) -> set[str]:
    inner = (const for const in code.co_consts if isinstance(const, CodeType))
    return {*code.co_names, *(name for one in inner for name in _names(one))}


def kernel_files() -> list[str]:
    """Return the modules that mutants are made of."""
    return [f"{PACKAGE}.{name}" for name in kernel_names()] + [name for name, _ in SHARED.values()]
