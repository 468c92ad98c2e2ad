"""What can be wrong in shapes and axes: products, transposes, sums."""

from __future__ import annotations

import ast

from twingrad.parity_tests.runs.mutants.operators.arithmetic import is_axis
from twingrad.parity_tests.runs.mutants.operators.tree import (
    Edit,
    Edits,
    Scope,
    called,
    changed,
    changed_attribute,
    is_module_call,
    text,
)


def matmul(node: ast.AST, scope: Scope) -> Edits:
    """The operands of a matrix product are exchanged."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        yield Edit(node, changed(node, left=node.right, right=node.left))
        yield Edit(node, changed(node, op=ast.Mult()))


def transpose(node: ast.AST, scope: Scope) -> Edits:
    """A transpose or a permutation is forgotten."""
    if isinstance(node, ast.Attribute) and node.attr == "T":
        yield Edit(node, text(node.value))
    if called(node) in ("swapaxes", "transpose") and isinstance(node, ast.Call):
        assert isinstance(node.func, ast.Attribute)
        yield Edit(node, text(node.func.value))
    if called(node) in ("argsort", "reversed") and isinstance(node, ast.Call):
        yield Edit(node, text(node.args[0]))
    if isinstance(node, ast.Subscript) and text(node.slice) == "::-1":
        yield Edit(node, text(node.value))
    if isinstance(node, ast.Name) and scope.is_operand(node):
        parent = scope.parent(node)
        if isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.MatMult):
            yield Edit(node, f"{node.id}.swapaxes(-1, -2)")


def shape(node: ast.AST, scope: Scope) -> Edits:
    """A reshape, an added axis or a broadcast is forgotten."""
    if called(node) in ("reshape", "expand_dims", "broadcast_to", "_sum_to"):
        assert isinstance(node, ast.Call)
        if isinstance(node.func, ast.Attribute) and not is_module_call(node):
            yield Edit(node, text(node.func.value))
        else:
            yield Edit(node, text(node.args[0]))
    if isinstance(node, ast.Subscript) and "None" in text(node.slice):
        yield Edit(node, text(node.value))


def axis(node: ast.AST, scope: Scope) -> Edits:
    """A sum runs along another axis."""
    if isinstance(node, ast.keyword) and is_axis(node):
        for other in ("0", "-1", "-2", "None"):
            # Of two axes the first is -2, and the last is 1.
            if other != text(node.value) and (text(node.value), other) not in SAME_OF_TWO:
                yield Edit(node, f"axis={other}")
    if called(node) in ("swapaxes", "sum_over") and isinstance(node, ast.Call):
        yield Edit(node, changed(node, args=[*node.args[:1], ast.Constant(0), *node.args[2:]]))


SAME_OF_TWO = {("0", "-2"), ("1", "-1")}


def keepdims(node: ast.AST, scope: Scope) -> Edits:
    """A summed axis is dropped, or kept."""
    if isinstance(node, ast.keyword) and node.arg in ("keepdims", "keepdim"):
        if isinstance(node.value, ast.Constant):
            yield Edit(node, f"{node.arg}={not node.value.value}")
        else:
            yield Edit(node, f"{node.arg}=not {text(node.value)}")


def mean(node: ast.AST, scope: Scope) -> Edits:
    """A mean for a sum."""
    function = node.func if isinstance(node, ast.Call) else None
    if isinstance(function, ast.Attribute) and function.attr in ("sum", "mean"):
        other = "mean" if function.attr == "sum" else "sum"
        yield Edit(node, changed(node, func=changed_attribute(function, other)))
