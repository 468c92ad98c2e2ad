"""The mutation operators: what can be wrong in a line of numeric code, one thing at a time.

An operator looks at one node of the syntax tree and yields what could stand there instead, by
mistake. General tools change comparisons and add 1 to numbers; most of what goes wrong in a
backward pass is in products, transposes, axes, sums and precision, so those have operators here.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from typing import Any, NamedTuple, cast

TINY = "(1 + 2**-20)"  # inside every tolerance of the field, outside a bound of a few roundings
SMALL = "(1 + 0.001)"  # what gradcheck lets pass
ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div)
FLOATS = ("float16", "float32", "float64")


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


# Reading the tree


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


# Terms and factors


def sign(node: ast.AST, scope: Scope) -> Edits:
    """+ for -, - for +, a minus dropped, a result negated."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        yield Edit(node, changed(node, op=_other(node.op, ast.Add, ast.Sub)))
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add | ast.Sub):
        yield Edit(node, changed(node, op=_other(node.op, ast.Add, ast.Sub)))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        # axis=1 for axis=-1 is the same on a matrix; other axes are what `axis` tries.
        if not _is_axis(scope.parent(node)):
            yield Edit(node, text(node.operand))
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp | ast.Call):
        if called(node.value) not in ALLOCATES:
            yield Edit(node.value, f"-{grouped(node.value)}")
    if _is_result(node, scope):
        yield Edit(node, f"-{grouped(node)}")


ALLOCATES = {"empty", "empty_like"}  # whose numbers nobody reads, of whichever sign they are


def _is_axis(node: ast.AST | None) -> bool:
    return isinstance(node, ast.keyword) and node.arg == "axis"


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
    if scope.function is not None and _is_variable(node) and scope.is_operand(node):
        yield Edit(node, f"{text(node)} * {text(node)}")


# Constants


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
        if value and (isinstance(value, float) or arithmetic or _is_branch(node, scope)):
            yield Edit(node, f"{text(node)} * {by}")
        return
    # A zero, an infinity and a NaN stay what they are.
    written = text(node)
    if written.endswith("(0)") or "inf" in written or "nan" in written:
        return
    if constants_only or scope.function is None:
        return
    operand = _is_variable(node) and scope.is_operand(node)
    if operand or _is_result(node, scope) or _is_branch(node, scope):
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


# Shapes


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
    if isinstance(node, ast.keyword) and _is_axis(node):
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


def changed_attribute(node: ast.Attribute, name: str) -> ast.Attribute:
    twin = copy(node)
    twin.attr = name
    return twin


# Functions


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


# Conditions


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
        yield Edit(node, changed(node, op=_other(node.op, ast.And, ast.Or)))
        for value in node.values:
            yield Edit(node, text(value))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr):
        yield Edit(node, changed(node, op=_other(node.op, ast.BitAnd, ast.BitOr)))
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


# Statements


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


# Wiring: the right values in the wrong places


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


# Precision: right formulas that lose digits


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


def _other(op: Any, one: type[Any], other: type[Any]) -> Any:
    return other() if isinstance(op, one) else one()


def _is_variable(node: ast.AST) -> bool:
    """Whether the node is a value that is not written out: a variable, an attribute, a call."""
    is_value = isinstance(node, ast.Name | ast.Attribute | ast.Call)
    return is_value and isinstance(getattr(node, "ctx", ast.Load()), ast.Load)


def _is_result(node: ast.AST, scope: Scope) -> bool:
    """Whether the node is computed in a return: alone, or as an element of the returned tuple."""
    if not isinstance(node, ast.BinOp | ast.Call | ast.Name | ast.Attribute):
        return False
    if called(node) == "Saved":
        return False
    parent = scope.parent(node)
    if isinstance(parent, ast.Tuple):
        parent = scope.parent(parent)
    return isinstance(parent, ast.Return)


def _is_branch(node: ast.AST, scope: Scope) -> bool:
    """Whether the node is a branch of np.where."""
    parent = scope.parent(node)
    return (
        called(parent) == "where" and node in getattr(parent, "args", [])[1:] if parent else False
    )


class Operator(NamedTuple):
    """A way to be wrong, and the family that it is counted with."""

    family: str
    look: Look


# Where two operators write the same text, the first one counts it.
OPERATORS: dict[str, Operator] = {
    "eps": Operator("numbers", eps),
    "sign": Operator("sums", sign),
    "term": Operator("sums", term),
    "factor": Operator("products", factor),
    "times": Operator("products", times),
    "square": Operator("products", square),
    "tiny": Operator("numbers", tiny),
    "small": Operator("numbers", small),
    "constant": Operator("numbers", constant),
    "initial": Operator("numbers", initial),
    "integer": Operator("numbers", integer),
    "matmul": Operator("shapes", matmul),
    "transpose": Operator("shapes", transpose),
    "shape": Operator("shapes", shape),
    "axis": Operator("shapes", axis),
    "keepdims": Operator("shapes", keepdims),
    "mean": Operator("calls", mean),
    "shift": Operator("calls", shift),
    "abs": Operator("calls", absolute),
    "function": Operator("calls", function),
    "extremum": Operator("calls", extremum),
    "clip": Operator("calls", clip),
    "condition": Operator("branches", condition),
    "where": Operator("branches", where),
    "compare": Operator("branches", compare),
    "diagonal": Operator("branches", diagonal),
    "statement": Operator("wiring", statement),
    "augmented": Operator("wiring", augmented),
    "returned": Operator("wiring", returned),
    "argument": Operator("wiring", argument),
    "unpacked": Operator("wiring", unpacked),
    "name": Operator("wiring", name),
    "widen": Operator("precision", widen),
    "cancel": Operator("precision", cancel),
    "alias": Operator("precision", alias),
}
FAMILIES = tuple(dict.fromkeys(operator.family for operator in OPERATORS.values()))
