"""Write docs/api.md from the docstrings of every name that `import pellucid` offers.

Signatures and fields are read from the source as they are written there, so the page is the same whatever
Python runs this. `python docs/make_api.py` writes the file, `python docs/make_api.py --print` shows it.
"""

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pellucid

PAGE = Path(__file__).with_name("api.md")

HEAD = """\
# Python reference

Every name that `import pellucid` offers; everything else may change without notice. Made by `make docs` from
the docstrings; a test compares. How the names work together: [the guide](guide.md#in-python).

In the shapes, N counts pictures, C channels, H and W are height and width in pixels, K counts classes.
"""

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def page() -> str:
    """The whole of docs/api.md."""
    names = [f"[`{name}`](#{name.lower()})" for name in pellucid.__all__]
    sections = [section(name, definition_of(name)) for name in pellucid.__all__]
    return "\n".join([HEAD, " · ".join(names), "", *sections])


def definition_of(name: str) -> Definition:
    """The source of a public name, as a syntax tree."""
    thing = getattr(pellucid, name)
    module = importlib.import_module(thing.__module__)
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, Definition) and node.name == thing.__name__:
            return node
    raise LookupError(f"pellucid.{name} is not defined in {thing.__module__}")


def section(name: str, node: Definition) -> str:
    """One public name: how it is called, what it gives, and of a class its fields and methods."""
    lines = [f"## {name}", ""]
    if not isinstance(node, ast.ClassDef):
        return "\n".join([*lines, *code(signature(f"pellucid.{name}", node)), *prose(node), ""])
    if is_error(node):
        return "\n".join([*lines, f"An exception: `pellucid.{name}`.", "", *prose(node), ""])
    lines += [*prose(node)]
    if fields(node):
        lines += code("\n".join(fields(node)))
    for method in methods(node):
        marks = {ast.unparse(mark) for mark in method.decorator_list}
        owner = f"pellucid.{name}" if marks & {"classmethod", "staticmethod"} else name[0].lower() + name[1:]
        title = f"{owner}.{method.name}"
        returned = f" -> {ast.unparse(method.returns)}".replace("'", "") if method.returns else ""
        is_property = bool(marks & {"property", "cached_property"})
        shown = title + returned if is_property else signature(title, method)
        lines += [f"### {name}.{method.name}", "", *code(shown), *prose(method)]
    return "\n".join([*lines, ""])


def signature(title: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """`pellucid.load(data: object, ...) -> Splits`, on several lines where it is long."""
    arguments = node.args
    for group in (arguments.posonlyargs, arguments.args):
        if group and group[0].arg in ("self", "cls"):
            del group[0]
    returned = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    given = ast.unparse(arguments)
    line = f"{title}({given}){returned}".replace("'", '"')
    if len(line) <= 100:
        return line
    rows = "".join(f"    {each},\n" for each in _split(given))
    return f"{title}(\n{rows}){returned}".replace("'", '"')


def _split(arguments: str) -> list[str]:
    """Arguments at the commas that stand in no bracket."""
    parts, depth = [""], 0
    for letter in arguments:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def fields(node: ast.ClassDef) -> list[str]:
    """The public fields of a record, as they are written."""
    return [
        ast.unparse(each).replace("'", '"')
        for each in node.body
        if isinstance(each, ast.AnnAssign)
        and isinstance(each.target, ast.Name)
        and not each.target.id.startswith("_")
    ]


def methods(node: ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The public methods and properties of a class, in the order of the source."""
    for each in node.body:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and not each.name.startswith("_"):
            yield each


def is_error(node: ast.ClassDef) -> bool:
    """Whether a class is an exception, by the name of what it derives from."""
    return any(ast.unparse(base).endswith(("Error", "Exception", "Interrupt")) for base in node.bases)


def prose(node: Definition) -> Iterator[str]:
    """A docstring: paragraphs as text, columns and examples in fixed letters."""
    for paragraph in re.split(r"\n\s*\n", ast.get_docstring(node) or ""):
        columns = re.search(r"^ {4}|^\S+(?:, \S+)* {2,}\S", paragraph, flags=re.MULTILINE)
        yield from code(paragraph) if columns else (escaped(paragraph), "")


def code(text: str) -> list[str]:
    """A block of fixed letters."""
    return ["```text", *text.splitlines(), "```", ""]


def escaped(text: str) -> str:
    """Text with what Markdown would take for a tag made plain."""
    return re.sub(r"<(?=[a-z/])", "&lt;", text)


if __name__ == "__main__":
    if "--print" in sys.argv[1:]:
        sys.stdout.write(page())
    else:
        PAGE.write_text(page(), encoding="utf-8")
