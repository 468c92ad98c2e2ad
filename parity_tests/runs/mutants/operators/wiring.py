"""What can be wrong between right lines: order, names, arguments; and digits that are lost."""

from __future__ import annotations

import ast
from itertools import pairwise

from twingrad.parity_tests.runs.mutants.operators.tree import (
    Edit,
    Edits,
    Scope,
    assigned,
    called,
    changed,
    grouped,
    parameters,
    swapped,
    text,
    without_keyword,
)


def statement(node: ast.AST, scope: Scope) -> Edits:
    """A statement is lost, so that an older value goes on; or two stand in the wrong order."""
    if scope.function is None:
        return
    stale = all(scope.is_bound_before(name.id, name.lineno) for name in assigned(node))
    if isinstance(node, ast.AugAssign) or (isinstance(node, ast.Assign) and stale):
        yield Edit(node, "pass")
    if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant):
        yield Edit(node, "pass")
    for body in (getattr(node, "body", None), getattr(node, "orelse", None)):
        if isinstance(body, list):
            for one, other in pairwise(body):
                if isinstance(one, ast.AugAssign) and isinstance(other, ast.AugAssign):
                    yield Edit(one, f"{text(other)}; {text(one)}", until=other)


def augmented(node: ast.AST, scope: Scope) -> Edits:
    """= for +=, and a plain += for np.add.at, which drops what is added twice."""
    if isinstance(node, ast.AugAssign):
        yield Edit(node, f"{text(node.target)} = {text(node.value)}")
    if isinstance(node, ast.Call) and text(node.func) == "np.add.at":
        array, index, values = map(text, node.args)
        yield Edit(node, f"{array}[{index}] += {values}")
        yield Edit(node, f"{array}[{index}] = {values}")
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
        yield Edit(node, f"{text(node.targets[0])} += {text(node.value)}")


def returned(node: ast.AST, scope: Scope) -> Edits:
    """Two results or two saved arrays are exchanged, or one is not returned."""
    if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
        for elements in swapped(node.value.elts):
            yield Edit(node.value, changed(node.value, elts=elements))
        for index, element in enumerate(node.value.elts):
            if text(element) != "None":
                elts = list(node.value.elts)
                elts[index] = ast.Constant(None)
                yield Edit(node.value, changed(node.value, elts=elts))


def argument(node: ast.AST, scope: Scope) -> Edits:
    """Two arguments of a call are exchanged."""
    if isinstance(node, ast.Call) and len(node.args) > 1 and called(node) not in COMMUTES:
        for arguments in swapped(node.args):
            yield Edit(node, changed(node, args=arguments))


# Exchanged arguments that change nothing, or that another operator exchanges.
COMMUTES = {"maximum", "minimum", "max", "min", "swapaxes", "where", "subtract", "isinstance"} | {
    *("add", "multiply", "vdot", "vecdot", "promote_types", "result_type", "hypot"),
    *("logical_and", "logical_or", "logical_xor", "array_equal"),
}


def unpacked(node: ast.AST, scope: Scope) -> Edits:
    """What was saved is taken apart in the wrong order."""
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
        target = node.targets[0]
        for elements in swapped(target.elts):
            yield Edit(target, changed(target, elts=elements))


def name(node: ast.AST, scope: Scope) -> Edits:
    """Another variable of the function stands in a term or a factor."""
    if not isinstance(node, ast.Name) or not isinstance(node.ctx, ast.Load):
        return
    if scope.function is None or not scope.is_operand(node):
        return
    names = {argument.arg for argument in parameters(scope.function) if _is_numeric(argument)}
    names |= {stored.id for stored in assigned(scope.function)}
    for other in sorted(names):
        if (
            other not in (node.id, "_")
            and other not in CONTAINERS
            and scope.is_bound_before(other, node.lineno)
        ):
            yield Edit(node, other)


CONTAINERS = {"saved", "new_state"}  # variables that no arithmetic takes


def _is_numeric(argument: ast.arg) -> bool:
    annotation = text(argument.annotation) if argument.annotation else "Array"
    return annotation.removesuffix(" | None") in ("Array", "float")


FLOATS = ("float16", "float32", "float64")


def widen(node: ast.AST, scope: Scope) -> Edits:
    """What is computed in float64 is computed in the input's dtype, or in float32."""
    if isinstance(node, ast.Call) and any(word.arg == "dtype" for word in node.keywords):
        yield Edit(node, without_keyword(node, "dtype"))
    if called(node) == "astype" and isinstance(node, ast.Call):
        assert isinstance(node.func, ast.Attribute)
        yield Edit(node, text(node.func.value))
    if isinstance(node, ast.Attribute) and node.attr in FLOATS:
        for other in FLOATS:
            if other != node.attr:
                yield Edit(node, f"np.{other}")
    if called(node) == "asarray" and isinstance(node, ast.Call) and len(node.args) == 2:
        yield Edit(node, changed(node, args=node.args[:1]))


def cancel(node: ast.AST, scope: Scope) -> Edits:
    """A difference of two numbers that are nearly equal: 1 - (1 - tail), one-pass variance."""
    if called(node) == "where" and isinstance(node, ast.Call):
        test, yes, no = node.args
        if text(no) == f"1 - {text(yes)}":
            yield Edit(node, f"1 - np.where({text(test)}, {text(no)}, {text(yes)})")
    if called(node) == "log1p" and isinstance(node, ast.Call):
        yield Edit(node, f"np.log(1 + {text(node.args[0])})")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        over, under = text(node.left), text(node.right)
        if under == f"1 + {over}":
            yield Edit(node, f"1 - 1 / ({under})")
        if under == f"np.square(1 + {over})":
            yield Edit(node, f"1 / (1 + {over}) * (1 - 1 / (1 + {over}))")
        if over == f"4 * {under.removeprefix('np.square(1 + ')[:-1]}":
            e = over.removeprefix("4 * ")
            yield Edit(node, f"1 - np.square((1 - {e}) / (1 + {e}))")
    if isinstance(node, ast.Call) and len(node.args) == 1 and isinstance(node.args[0], ast.BinOp):
        product = node.args[0]
        if isinstance(product.op, ast.Mult) and text(product.left) == text(product.right):
            centred = _difference(scope, text(product.left))
            if centred is not None:
                x, average = centred
                f = text(node.func)
                yield Edit(node, f"{f}({x} * {x}) - {average} * {average}")


def _difference(scope: Scope, name: str) -> tuple[str, str] | None:
    """Return what a variable is the difference of, in this function."""
    for node in ast.walk(scope.function) if scope.function else ():
        if (
            isinstance(node, ast.Assign)
            and text(node.targets[0]) == name
            and isinstance(node.value, ast.BinOp)
            and isinstance(node.value.op, ast.Sub)
        ):
            return grouped(node.value.left), grouped(node.value.right)
    return None


def alias(node: ast.AST, scope: Scope) -> Edits:
    """A copy is not taken: a result shares its memory with something else."""
    if called(node) == "copy" and isinstance(node, ast.Call):
        assert isinstance(node.func, ast.Attribute)
        yield Edit(node, text(node.func.value))
    if called(node) == "asarray" and isinstance(node, ast.Call) and len(node.args) == 1:
        yield Edit(node, text(node.args[0]))
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp):
        value, target = node.value, node.targets[0]
        # x = x + y is x += y when the array is one's own; here it may be the caller's.
        if isinstance(target, ast.Name) and text(value.left) == target.id:
            yield Edit(node, text(ast.AugAssign(target, value.op, value.right)))
