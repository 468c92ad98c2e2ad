"""What can be wrong in calls and conditions: another function, a branch, a mask."""

from __future__ import annotations

import ast

from twingrad.parity_tests.runs.mutants.operators.tree import (
    Edit,
    Edits,
    Scope,
    called,
    changed,
    changed_attribute,
    other_of,
    text,
)


def shift(node: ast.AST, scope: Scope) -> Edits:
    """The largest exponent is not subtracted."""
    if called(node) == "subtract" and isinstance(node, ast.Call):
        for other in (ast.Constant(0), ast.UnaryOp(ast.USub(), node.args[1])):
            yield Edit(node, changed(node, args=[node.args[0], other, *node.args[2:]]))
        yield Edit(node, changed(node, args=[node.args[1], node.args[0], *node.args[2:]]))


def absolute(node: ast.AST, scope: Scope) -> Edits:
    """An absolute value is forgotten, or a sign is taken the wrong way."""
    if called(node) == "abs" and isinstance(node, ast.Call):
        yield Edit(node, f"np.positive({', '.join(map(text, [*node.args, *node.keywords]))})")


FUNCTIONS = {
    "exp": ("expm1", "exp2"),
    "log1p": ("log", "expm1"),
    "log": ("log1p", "log2"),
    "tanh": ("arctan", "sinh"),
    "isneginf": ("isposinf", "isinf", "isfinite", "isnan"),
    "isfinite": ("isnan", "isinf"),
    "zeros": ("ones",),
    "ones": ("zeros",),
    "zeros_like": ("ones_like",),
    "square": ("sqrt", "abs"),
    "prod": ("sum",),
    "cumsum": ("cumprod",),
    "any": ("all",),
    "all": ("any",),
}


def function(node: ast.AST, scope: Scope) -> Edits:
    """A related function: expm1 for exp, log for log1p; or none at all."""
    if not isinstance(node, ast.Call):
        return
    name = called(node)
    if isinstance(node.func, ast.Attribute):
        for other in FUNCTIONS.get(name, ()):
            yield Edit(node, changed(node, func=changed_attribute(node.func, other)))
    elif name in ("any", "all"):
        yield Edit(node, changed(node, func=ast.Name(FUNCTIONS[name][0])))
    if name in ("exp", "log", "log1p", "tanh", "sqrt", "cumsum", "log2") and node.args:
        yield Edit(node, text(node.args[0]))


EXTREMA = {"maximum": "minimum", "minimum": "maximum", "max": "min", "min": "max"}


def extremum(node: ast.AST, scope: Scope) -> Edits:
    """A minimum for a maximum, or one of its arguments for either."""
    if not isinstance(node, ast.Call) or called(node) not in EXTREMA:
        return
    other = EXTREMA[called(node)]
    if isinstance(node.func, ast.Attribute):
        yield Edit(node, changed(node, func=changed_attribute(node.func, other)))
    else:
        yield Edit(node, changed(node, func=ast.Name(other)))
    if len(node.args) == 2:
        for argument in node.args:
            yield Edit(node, text(argument))


def clip(node: ast.AST, scope: Scope) -> Edits:
    """A bound of a clip is lost, or both are."""
    if called(node) == "clip" and isinstance(node, ast.Call):
        x, low, high = node.args
        none = ast.Constant(None)
        yield Edit(node, changed(node, args=[x, none, high]))
        yield Edit(node, changed(node, args=[x, low, none]))
        yield Edit(node, f"np.asarray({', '.join(map(text, [x, *node.keywords]))})")


def condition(node: ast.AST, scope: Scope) -> Edits:
    """A condition is inverted, taken for granted, or one half of it is lost."""
    tests: list[ast.expr] = []
    if isinstance(node, ast.If | ast.IfExp):
        tests = [node.test]
    if isinstance(node, ast.comprehension):
        tests = node.ifs
    for test in tests:
        yield Edit(test, f"not ({text(test)})")
        yield Edit(test, "True")
        yield Edit(test, "False")
    if isinstance(node, ast.BoolOp):
        yield Edit(node, changed(node, op=other_of(node.op, ast.And, ast.Or)))
        for value in node.values:
            yield Edit(node, text(value))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr):
        yield Edit(node, changed(node, op=other_of(node.op, ast.BitAnd, ast.BitOr)))
        yield Edit(node, text(node.left))
        yield Edit(node, text(node.right))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
        yield Edit(node, text(node.operand))


def where(node: ast.AST, scope: Scope) -> Edits:
    """The branches of np.where are exchanged, or one of them is taken everywhere."""
    if called(node) == "where" and isinstance(node, ast.Call):
        test, yes, no = node.args
        yield Edit(node, changed(node, args=[test, no, yes]))
        yield Edit(node, text(yes))
        yield Edit(node, text(no))


def compare(node: ast.AST, scope: Scope) -> Edits:
    """< for <=, == for !=."""
    if not isinstance(node, ast.Compare):
        return
    order: list[ast.cmpop] = [ast.Lt(), ast.LtE(), ast.Gt(), ast.GtE()]
    equal: list[ast.cmpop] = [ast.Eq(), ast.NotEq()]
    for number_of, op in enumerate(node.ops):
        same = type(op)
        others = order if same in map(type, order) else equal if same in map(type, equal) else []
        for other in others:
            if type(other) is not same:
                ops = [*node.ops[:number_of], other, *node.ops[number_of + 1 :]]
                yield Edit(node, changed(node, ops=ops))


def diagonal(node: ast.AST, scope: Scope) -> Edits:
    """The causal diagonal is off by one, or the other triangle is seen."""
    if called(node) == "tril" and isinstance(node, ast.Call):
        for offset in (-1, 1):
            yield Edit(node, f"np.tril({text(node.args[0])}, {offset})")
        yield Edit(node, f"np.triu({text(node.args[0])})")
