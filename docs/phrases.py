"""The texts that stand in audit.json, as patterns, read from the code that makes them.

Checks, pre-flight, the masking verdict and the gates write English sentences, most with figures in
them. An f-string is its own pattern here: f"{count} of {total} images withstood" is the text
"{count} of {total} images withstood", and where it chooses a word it is as many texts as words.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Where they are made.
MAKERS = (
    *("plugins/masking/*.py", "plugins/data/image_folder.py", "plugins/data/pictures.py"),
    *("plugins/cascade/*.py", "plugins/autoattack.py", "plugins/npz.py"),
    *("auditor/attacking/stages.py", "auditor/attacking/verify.py"),
    *("auditor/masking/ch*.py", "auditor/masking/evidence.py", "auditor/masking/verdict/*.py"),
    *("auditor/masking/probe.py", "auditor/preflight/*.py", "auditor/gates.py"),
    *("auditor/cells/sampler.py", "auditor/schema/tables.py", "auditor/audit/assemble.py"),
    *("auditor/audit/work.py", "auditor/cells/cell.py"),
    *("auditor/subject/samples.py", "auditor/surrogate/names.py"),
    *("plugins/models/*.py", "auditor/subject/loading.py"),
)
#: Single words that stand in such texts, or in the place of one.
WORDS = (
    *("margin", "margins", "cross-entropy", "logits", "probabilities", "log-probabilities"),
    *("image", "images", "survivor", "survivors", "adversarial example", "gradient", "queries"),
    *("repaired", "rescaled", "averaged", "unbounded", "longer", "screening", "planted", "custom"),
    *("alone", "reversed", "random", "clean", "share", "least", "most", "it", "and", "or"),
    *("sweep", "aimed", "closest", "probability-margin"),
    *(
        "factory",
        "loader",
        "none",
        "possible",
        "suspected",
        "confirmed",
        "inconclusive",
        "holds",
        "skipped",
        "failed",
    ),
)
#: Calls whose texts no reader of a report sees: errors, parameters, files and random keys.
_UNSEEN = re.compile(r"param|Field|Expects|log|getLogger|[Nn]oise|\w*Error|usercode|tell|blaming")
#: Texts with letters and a space; neither references nor patterns of einsum.
_PROSE = re.compile(r"(?=.*[a-z]{2})(?=.*\S\s+\S)(?!.*arXiv)", re.DOTALL)
_LONGEST = 32


def phrases() -> Iterator[str]:
    """Every text."""
    yield from WORDS
    for file in sorted({file for maker in MAKERS for file in ROOT.glob(maker)}):
        seen = _Seen()
        seen.visit(ast.parse(file.read_text(encoding="utf-8")))
        yield from dict.fromkeys(seen.texts)


class _Seen(ast.NodeVisitor):
    """Collects the texts of a module."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def visit_Raise(self, node: ast.Raise) -> None:
        """Errors stay English."""

    def visit_Assert(self, node: ast.Assert) -> None:
        """So do these."""

    def visit_Compare(self, node: ast.Compare) -> None:
        """Nor is what something is compared with."""
        for part in (node.left, *node.comparators):
            if not isinstance(part, ast.Constant | ast.JoinedStr):
                self.visit(part)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """Nor what something is looked up by; what it is put under may be."""
        self.visit(node.value)
        if isinstance(node.ctx, ast.Store):
            self.visit(node.slice)

    def visit_keyword(self, node: ast.keyword) -> None:
        """Nor keys of files and random numbers, and places of errors."""
        if node.arg not in ("key", "where"):
            self.visit(node.value)

    def visit_Expr(self, node: ast.Expr) -> None:
        """A docstring is no text."""
        if not isinstance(node.value, ast.Constant):
            self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """What a decorator is told is no text."""
        for part in node.body:
            self.visit(part)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Nor are types."""
        for part in (*node.body, *node.args.defaults, *node.args.kw_defaults):
            if part is not None:
                self.visit(part)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Nor here."""
        if node.value is not None:
            self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        """What is called may say that nobody sees its texts."""
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        if not _UNSEEN.fullmatch(name):
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """A text as it is."""
        if isinstance(node.value, str):
            self._add(node.value.replace("{", "{{").replace("}", "}}"))

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """A text with figures, and the texts that stand in it."""
        names: dict[str, str] = {}
        parts = [_choices(part, names) for part in node.values]
        for chosen in product(*parts):
            self._add("".join(chosen))
        for part in node.values:
            if isinstance(part, ast.FormattedValue) and not _constants(part.value):
                self.visit(part.value)

    def _add(self, text: str) -> None:
        if _PROSE.match(re.sub(r"\{\w+\}", "0", text)):
            self.texts.append(text)


def _choices(part: ast.expr, names: dict[str, str]) -> list[str]:
    """What may stand in the place of one part of an f-string."""
    if isinstance(part, ast.Constant):
        return [str(part.value).replace("{", "{{").replace("}", "}}")]
    assert isinstance(part, ast.FormattedValue)
    return _constants(part.value) or [f"{{{_name(part.value, names)}}}"]


def _constants(value: ast.expr) -> list[str]:
    """The words of which an expression chooses one; empty for any other expression."""
    if not isinstance(value, ast.IfExp):
        return []
    both = (value.body, value.orelse)
    texts = [one.value for one in both if isinstance(one, ast.Constant)]
    return [str(text) for text in texts] if len(texts) == 2 else []


def _name(value: ast.expr, names: dict[str, str]) -> str:
    """A name for what an expression says, the same for the same expression."""
    source = ast.unparse(value)
    if source not in names:
        words = [word for word in re.findall(r"[A-Za-z_]\w*", source) if word != "self"]
        name = "_".join(words).strip("_")[:_LONGEST].strip("_") or "value"
        while name in names.values():
            name += "_"
        names[source] = name
    return names[source]
