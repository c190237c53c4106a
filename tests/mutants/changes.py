"""What is changed: every mutant of a source, fit for NumPy code that works in place."""

from __future__ import annotations

import ast
import contextlib
import itertools
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A source with one change: `line` was `before` and is `after`."""

    line: int
    before: str
    after: str
    source: str

    @property
    def change(self) -> str:
        return f"{self.before}  →  {self.after}"


def mutants(source: str) -> list[Mutant]:
    """Return every mutant of a source, in the order of its lines."""
    maker = _Maker(source.encode())
    maker.visit(ast.parse(source))
    tree, found = ast.dump(ast.parse(source)), {}
    for start, end, text in sorted(maker.edits):
        changed = (maker.source[:start] + text + maker.source[end:]).decode()
        with contextlib.suppress(SyntaxError):
            if changed not in found and ast.dump(ast.parse(changed)) != tree:
                found[changed] = _mutant(source, changed)
    return list(found.values())


def _mutant(source: str, changed: str) -> Mutant:
    before, after = source.splitlines(), changed.splitlines()
    pairs = enumerate(zip(before, after, strict=False))
    line = next(i for i, (one, other) in pairs if one != other)
    return Mutant(line + 1, before[line].strip(), after[line].strip(), changed)


_SWAPPED: dict[type[ast.AST], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "/"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
    ast.BitOr: ("|", "&"),
    ast.BitAnd: ("&", "|"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}
_COMPARED: dict[type[ast.cmpop], tuple[str, ...]] = {  # negated, with its boundary shifted
    ast.Lt: ("<", ">=", "<="),
    ast.LtE: ("<=", ">", "<"),
    ast.Gt: (">", "<=", ">="),
    ast.GtE: (">=", "<", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
_FUNCTIONS = {
    one: other
    for pair in (
        "add subtract",
        "multiply divide",
        "maximum minimum",
        "max min",
        "argmax argmin",
        "greater greater_equal",
        "any all",
        "floor ceil",
        "cos sin",
        "zeros ones",
        "sum mean",
    )
    for one, other in (pair.split(), reversed(pair.split()))
} | {"tanh": "sin", "exp": "expm1", "log1p": "log", "std": "var", "sort": "asarray"}
# Calls that are replaced by their argument, or by what they are called on.
_REMOVED = {
    *("copy", "astype", "sum", "mean", "std", "max", "min", "real", "sqrt", "exp", "log", "tanh"),
    *("abs", "round", "floor", "ceil", "radians", "cumsum", "fmean", "ascontiguousarray"),
    *("int", "float", "bool", "sorted", "removeprefix", "removesuffix"),
}
# Calls whose arguments may change places, or have kinds that may not.
_UNSWAPPED = {
    *("add", "multiply", "maximum", "minimum", "max", "min", "equal"),
    *("empty", "full", "zeros", "ones", "eye", "reshape", "einsum", "frombuffer", "open"),
    *("isinstance", "getattr", "hasattr", "setattr", "replace", "fromkeys", "print", "__init__"),
}


class _Maker(ast.NodeVisitor):
    """Collects edits of a source: (start, end, new text), in bytes, as `ast` counts columns.

    Texts are left alone: docstrings, annotations, what is logged, what an error says.
    """

    def __init__(self, source: bytes) -> None:
        self.source, self.edits = source, list[tuple[int, int, bytes]]()
        lines = source.splitlines(keepends=True)
        self._starts = [0, *itertools.accumulate(map(len, lines))]
        self._arguments, self._making = list[str](), False

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            self._starts[node.lineno - 1] + node.col_offset,
            self._starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def _text(self, node: ast.expr) -> str:
        start, end = self._span(node)
        return self.source[start:end].decode()

    def _replace(self, node: ast.expr | ast.stmt, text: str) -> None:
        self.edits.append((*self._span(node), text.encode()))

    def _replace_by(self, node: ast.expr, part: ast.expr) -> None:
        self._replace(node, f"({self._text(part)})" if _is_open(part) else self._text(part))

    def _replace_between(self, left: ast.expr, right: ast.expr, old: str, new: str) -> None:
        """Replace an operator between two operands, which may have parentheses."""
        start, end = self._span(left)[1], self._span(right)[0]
        pattern = r"\s+".join(map(re.escape, old.split()))
        found = re.search(rf"(?<!\w){pattern}(?!\w)".encode(), self.source[start:end])
        if found:
            self.edits.append((start + found.start(), start + found.end(), new.encode()))

    def _drop(self, node: ast.stmt) -> None:
        self._replace(node, "pass")

    def _force(self, test: ast.expr, *, loop: bool = False) -> None:
        self._replace(test, "False")
        if not loop:
            self._replace(test, "True")

    # Statements

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer = self._arguments, self._making
        self._arguments = [a.arg for a in node.args.args if a.arg != "self"]
        self._making = node.name == "__init__"  # every attribute is missed that is not made
        for child in (*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body):
            self.visit(child)
        self._arguments, self._making = outer

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for child in node.body:
            self.visit(child)

    def visit_Assign(self, node: ast.Assign) -> None:
        targets = ast.Subscript if self._making else (ast.Attribute, ast.Subscript)
        if any(isinstance(target, targets) for target in node.targets):
            self._drop(node)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value:
            self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._drop(node)
        if type(node.op) in _SWAPPED:
            old, new = _SWAPPED[type(node.op)]
            self._replace_between(node.target, node.value, old + "=", new + "=")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant) or self._text(node.value).startswith("log."):
            return
        if isinstance(node.value, ast.Call):
            self._drop(node)
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        if isinstance(node.exc, ast.Call):  # not a NotImplementedError
            self._drop(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        self._drop(node)

    def visit_Break(self, node: ast.Break) -> None:
        self._drop(node)

    def visit_Continue(self, node: ast.Continue) -> None:
        self._drop(node)

    def visit_Return(self, node: ast.Return) -> None:
        if isinstance(node.value, ast.Name):
            others = [name for name in self._arguments if name != node.value.id]
            if others:
                self._replace(node.value, others[0])
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        self._force(node.test)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self._force(node.test, loop=True)
        self.generic_visit(node)

    # Expressions

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._force(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._force(test)
        self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self._replace(node, str(not value))
        elif isinstance(value, int):
            self._replace(node, str(value + 1))
            if value:
                self._replace(node, str(value - 1))
        elif isinstance(value, float):
            self._replace(node, repr(value + 1))
            self._replace(node, repr(value * 2))

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in _SWAPPED:
            self._replace_between(node.left, node.right, *_SWAPPED[type(node.op)])
        if not isinstance(node.op, ast.MatMult):
            self._replace_by(node, node.left)
        if isinstance(node.op, (ast.Add, ast.Mult)):
            self._replace_by(node, node.right)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for left, right in itertools.pairwise(node.values):
            self._replace_between(left, right, *_SWAPPED[type(node.op)])
        for value in node.values:
            self._replace(value, str(isinstance(node.op, ast.And)))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        self._replace_by(node, node.operand)
        if not isinstance(node.operand, ast.Constant):
            self.visit(node.operand)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg == "axis" and isinstance(node.value, ast.Constant):
            self._replace(node.value, "0" if node.value.value else "1")
        elif node.arg != "strict":  # an assertion
            self.visit(node.value)

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for (left, right), op in zip(itertools.pairwise(operands), node.ops, strict=True):
            old, *others = _COMPARED[type(op)]
            for new in others:
                self._replace_between(left, right, old, new)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in ("real", "T"):
            self._replace_by(node, node.value)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else self._text(node.func)
        if name in _FUNCTIONS and (isinstance(node.func, ast.Attribute) or name in _BUILTIN):
            end = self._span(node.func)[1]
            self.edits.append((end - len(name), end, _FUNCTIONS[name].encode()))
        of_module = isinstance(node.func, ast.Attribute) and self._text(node.func.value) in _MODULES
        if isinstance(node.func, ast.Attribute) and not of_module:
            if name in _REMOVED:
                self._replace_by(node, node.func.value)
        elif len(node.args) == 1 and not node.keywords and name in _REMOVED:
            self._replace_by(node, node.args[0])
        if name in ("max", "min", "maximum", "minimum") and len(node.args) == 2:
            for argument in node.args:
                self._replace_by(node, argument)
        # Classes and shapes have arguments of different kinds, and fail at once.
        if name not in _UNSWAPPED and not name.lstrip("_")[0].isupper():
            for left, right in itertools.pairwise(node.args):
                if not isinstance(left, ast.Starred) and not isinstance(right, ast.Starred):
                    between = self.source[self._span(left)[1] : self._span(right)[0]].decode()
                    text = self._text(right) + between + self._text(left)
                    self.edits.append((self._span(left)[0], self._span(right)[1], text.encode()))
        if name == "reshape":
            self.visit(node.func)
            return
        self.generic_visit(node)

    def visit_Slice(self, node: ast.Slice) -> None:
        for bound in (node.lower, node.upper):
            if bound is not None:
                self._replace(bound, "")
        self.generic_visit(node)


_BUILTIN = ("max", "min", "any", "all")
_MODULES = ("np", "math", "np.linalg", "np.random", "statistics")


def _is_open(node: ast.expr) -> bool:
    """Whether an expression needs parentheses inside of another."""
    return isinstance(node, (ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.UnaryOp))
