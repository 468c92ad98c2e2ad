"""What an operator sees of a line: its syntax tree, its place, what could stand there instead."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, NamedTuple, cast

ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div)


class Edit(NamedTuple):
    """One change: `text` in the place of `node`, or of the statements `node` to `until`."""

    node: ast.AST
    text: str
    until: ast.AST | None = None


@dataclass
class Scope:
    """What an operator may know about the place of a node."""

    function: ast.FunctionDef | None  # None: a constant of the module
    constants: dict[str, Any]  # the module's own and imported numbers and tuples of numbers
    parents: dict[ast.AST, ast.AST] = field(default_factory=dict)

    def parent(self, node: ast.AST) -> ast.AST | None:
        return self.parents.get(node)

    def is_operand(self, node: ast.AST) -> bool:
        """Whether the node is a term or a factor."""
        parent = self.parent(node)
        if isinstance(parent, ast.BinOp):
            return isinstance(parent.op, (*ARITHMETIC, ast.MatMult))
        return isinstance(parent, ast.AugAssign) and parent.value is node

    def is_bound_before(self, name: str, line: int) -> bool:
        """Whether the name has a value above this line of its function."""
        assert self.function is not None
        bound = {argument.arg for argument in parameters(self.function)}
        bound |= {stored.id for stored in assigned(self.function) if stored.lineno < line}
        return name in bound


Edits = Iterator[Edit]


Look = Callable[[ast.AST, Scope], Edits]


def parameters(function: ast.FunctionDef) -> list[ast.arg]:
    return [node for node in ast.walk(function.args) if isinstance(node, ast.arg)]


def assigned(tree: ast.AST) -> list[ast.Name]:
    """Return the names that a function or a statement gives values to."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]


def called(node: ast.AST) -> str:
    """Return the last name of what a call calls: "sum" for x.sum() and np.sum(x), else ""."""
    if not isinstance(node, ast.Call):
        return ""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def is_module_call(node: ast.AST) -> bool:
    """Whether a call is of a function of a module, np.sum(x), and not of a method, x.sum()."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in ("np", "math")
    )


def number(node: ast.AST) -> float | int | None:
    """Return the number that a literal stands for, -1 included, else None."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = number(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return cast(float | int, node.value)
    return None


def changed(node: ast.AST, **fields: Any) -> str:
    """Return the text of the node with some fields replaced."""
    twin = copy(node)
    for name, value in fields.items():
        setattr(twin, name, value)
    return ast.unparse(twin)


def changed_attribute(node: ast.Attribute, name: str) -> ast.Attribute:
    twin = copy(node)
    twin.attr = name
    return twin


def text(node: ast.AST) -> str:
    return ast.unparse(node)


def grouped(node: ast.AST) -> str:
    """Return the node's text so that it can be a factor or a term of anything."""
    simple = (ast.Name, ast.Call, ast.Attribute, ast.Subscript, ast.Constant, ast.Tuple)
    return text(node) if isinstance(node, simple) else f"({text(node)})"


def without_keyword(node: ast.Call, name: str) -> str:
    return changed(node, keywords=[word for word in node.keywords if word.arg != name])


def with_keyword(node: ast.Call, name: str, value: str) -> str:
    keywords = [
        ast.keyword(name, ast.parse(value, mode="eval").body) if word.arg == name else word
        for word in node.keywords
    ]
    return changed(node, keywords=keywords)


def swapped(items: list[Any]) -> Iterator[list[Any]]:
    """Yield the list with each pair of different elements exchanged."""
    for one, other in combinations(range(len(items)), 2):
        if ast.dump(items[one]) != ast.dump(items[other]):
            twin = list(items)
            twin[one], twin[other] = items[other], items[one]
            yield twin


def is_variable(node: ast.AST) -> bool:
    """Whether the node is a value that is not written out: a variable, an attribute, a call."""
    is_value = isinstance(node, ast.Name | ast.Attribute | ast.Call)
    return is_value and isinstance(getattr(node, "ctx", ast.Load()), ast.Load)


def is_result(node: ast.AST, scope: Scope) -> bool:
    """Whether the node is computed in a return: alone, or as an element of the returned tuple."""
    if not isinstance(node, ast.BinOp | ast.Call | ast.Name | ast.Attribute):
        return False
    if called(node) == "Saved":
        return False
    parent = scope.parent(node)
    if isinstance(parent, ast.Tuple):
        parent = scope.parent(parent)
    return isinstance(parent, ast.Return)


def is_branch(node: ast.AST, scope: Scope) -> bool:
    """Whether the node is a branch of np.where."""
    parent = scope.parent(node)
    return (
        called(parent) == "where" and node in getattr(parent, "args", [])[1:] if parent else False
    )


def other_of(op: Any, one: type[Any], other: type[Any]) -> Any:
    return other() if isinstance(op, one) else one()
