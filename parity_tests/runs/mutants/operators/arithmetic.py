"""What can be wrong in a formula: signs, terms, factors, constants."""

from __future__ import annotations

import ast

from twingrad.parity_tests.runs.mutants.operators.tree import (
    Edit,
    Edits,
    Scope,
    called,
    changed,
    grouped,
    is_branch,
    is_result,
    is_variable,
    number,
    other_of,
    text,
    with_keyword,
    without_keyword,
)

TINY = "(1 + 2**-20)"  # inside every tolerance of the field, outside a bound of a few roundings


SMALL = "(1 + 0.001)"  # what gradcheck lets pass


def sign(node: ast.AST, scope: Scope) -> Edits:
    """+ for -, - for +, a minus dropped, a result negated."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        yield Edit(node, changed(node, op=other_of(node.op, ast.Add, ast.Sub)))
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add | ast.Sub):
        yield Edit(node, changed(node, op=other_of(node.op, ast.Add, ast.Sub)))
    # axis=1 for axis=-1 is the same on a matrix; other axes are what `axis` tries.
    if (
        isinstance(node, ast.UnaryOp)
        and isinstance(node.op, ast.USub)
        and not is_axis(scope.parent(node))
    ):
        yield Edit(node, text(node.operand))
    if (
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.BinOp | ast.Call)
        and called(node.value) not in ALLOCATES
    ):
        yield Edit(node.value, f"-{grouped(node.value)}")
    if is_result(node, scope):
        yield Edit(node, f"-{grouped(node)}")


ALLOCATES = {"empty", "empty_like"}  # whose numbers nobody reads, of whichever sign they are


def term(node: ast.AST, scope: Scope) -> Edits:
    """One term of a sum or difference is lost."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        yield Edit(node, text(node.left))
        minus = "-" if isinstance(node.op, ast.Sub) else ""
        yield Edit(node, f"{minus}{grouped(node.right)}" if minus else text(node.right))


def factor(node: ast.AST, scope: Scope) -> Edits:
    """One factor, divisor or exponent is lost: a count, a scale, a slope."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div | ast.Pow):
        yield Edit(node, text(node.left))
        if isinstance(node.op, ast.Mult):
            yield Edit(node, text(node.right))
        if isinstance(node.op, ast.Div):
            yield Edit(node, f"1 / {grouped(node.right)}")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        yield Edit(node, changed(node, left=node.right, right=node.left))


def times(node: ast.AST, scope: Scope) -> Edits:
    """* for /, / for *, and their kin."""
    others: dict[type[ast.operator], tuple[ast.operator, ...]] = {
        ast.Mult: (ast.Div(),),
        ast.Div: (ast.Mult(),),
        ast.FloorDiv: (ast.Mod(), ast.Div()),
        ast.Mod: (ast.FloorDiv(),),
        ast.Pow: (ast.Mult(),),
    }
    if isinstance(node, ast.BinOp | ast.AugAssign):
        for op in others.get(type(node.op), ()):
            yield Edit(node, changed(node, op=op))


def square(node: ast.AST, scope: Scope) -> Edits:
    """A square or a power is lost, or one is taken."""
    if called(node) == "square" and isinstance(node, ast.Call):
        yield Edit(node, text(node.args[0]))
    if scope.function is not None and is_variable(node) and scope.is_operand(node):
        yield Edit(node, f"{text(node)} * {text(node)}")


def tiny(node: ast.AST, scope: Scope) -> Edits:
    """A constant, a factor, a term or a result is off by 2^-20 of itself."""
    yield from _scaled(node, scope, TINY, constants_only=False)


def small(node: ast.AST, scope: Scope) -> Edits:
    """A constant is off by a thousandth of itself."""
    yield from _scaled(node, scope, SMALL, constants_only=True)


def _scaled(node: ast.AST, scope: Scope, by: str, constants_only: bool) -> Edits:
    value = number(node)
    if value is not None:
        if isinstance(scope.parent(node), ast.UnaryOp):
            return
        arithmetic = scope.is_operand(node) or scope.function is None
        if value and (isinstance(value, float) or arithmetic or is_branch(node, scope)):
            yield Edit(node, f"{text(node)} * {by}")
        return
    # A zero, an infinity and a NaN stay what they are.
    written = text(node)
    if written.endswith("(0)") or "inf" in written or "nan" in written:
        return
    if constants_only or scope.function is None:
        return
    operand = is_variable(node) and scope.is_operand(node)
    if operand or is_result(node, scope) or is_branch(node, scope):
        yield Edit(node, f"{grouped(node)} * {by}")


def integer(node: ast.AST, scope: Scope) -> Edits:
    """An integer is off by one: n for n - 1, axis 0 for axis 1."""
    value = number(node)
    if type(value) is int and not isinstance(scope.parent(node), ast.UnaryOp | ast.keyword):
        yield Edit(node, str(value + 1))
        if not _is_any_length(node, value, scope):
            yield Edit(node, str(value - 1))


def _is_any_length(node: ast.AST, value: int, scope: Scope) -> bool:
    """Whether it is the -1 of a reshape: NumPy takes any negative length for the one to find."""
    return value == -1 and called(scope.parent(node) or node) == "reshape"


def constant(node: ast.AST, scope: Scope) -> Edits:
    """Another constant of the file stands there: the float32 table for the float64 one."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in scope.constants:
        kind = type(scope.constants[node.id])
        for other, value in scope.constants.items():
            if other != node.id and type(value) is kind:
                yield Edit(node, other)


def initial(node: ast.AST, scope: Scope) -> Edits:
    """A maximum starts from another value."""
    if isinstance(node, ast.Call) and any(word.arg == "initial" for word in node.keywords):
        yield Edit(node, with_keyword(node, "initial", "0"))
        yield Edit(node, with_keyword(node, "initial", "np.inf"))
        yield Edit(node, without_keyword(node, "initial"))
    if isinstance(node, ast.Attribute) and node.attr == "nan":
        yield Edit(node, "0")


def eps(node: ast.AST, scope: Scope) -> Edits:
    """eps is forgotten, or stands outside the root instead of inside."""
    if called(node) == "sqrt" and isinstance(node, ast.Call):
        inner = node.args[0]
        if isinstance(inner, ast.BinOp) and text(inner.right) == "eps":
            yield Edit(node, f"{changed(node, args=[inner.left])} + eps")
            yield Edit(node, changed(node, args=[inner.left]))
    if isinstance(node, ast.Name) and node.id == "eps" and isinstance(node.ctx, ast.Load):
        for other in ("0", "eps * eps", "2 * eps", "-eps"):
            yield Edit(node, other)


def is_axis(node: ast.AST | None) -> bool:
    return isinstance(node, ast.keyword) and node.arg == "axis"
