"""No dangerous call anywhere in the package, and one place that writes.

The lists of exceptions are short on purpose: a line added to one of them needs a reason beside it.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pellucid"

# Reading these runs what they hold, crashes, or writes where it should not.
FORBIDDEN_IMPORTS = (
    "pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve",
    "torch.hub", "torch.package", "torchvision",
)  # fmt: skip
FORBIDDEN_CALLS = (
    "eval", "exec", "compile", "__import__",
    "torch.load", "torch.save", "torch.jit.load",
    "yaml.load", "yaml.unsafe_load", "yaml.full_load",
    "os.system", "os.popen", "shutil.move", "shutil.unpack_archive",
)  # fmt: skip
FORBIDDEN_METHODS = ("extractall",)

# What writes, makes, renames or removes. files.py alone may; everybody else asks files.py.
WRITING_CALLS = (
    "os.open", "os.mkdir", "os.makedirs", "os.remove", "os.unlink", "os.rename", "os.replace", "os.rmdir",
    "os.link", "os.symlink", "os.truncate", "os.chmod",
    "shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.copytree", "shutil.rmtree",
    "tempfile.mkstemp", "tempfile.mkdtemp", "tempfile.NamedTemporaryFile", "tempfile.TemporaryFile",
    "tempfile.TemporaryDirectory",
    "numpy.save", "numpy.savez", "numpy.savez_compressed", "numpy.savetxt", "safetensors.torch.save_file",
)  # fmt: skip
WRITING_METHODS = (
    "write_text", "write_bytes", "mkdir", "unlink", "rmdir", "rename", "touch", "symlink_to", "hardlink_to",
    "chmod", "tofile", "to_csv",
)  # fmt: skip
OPENING_CALLS = ("open", "io.open", "gzip.open", "bz2.open", "lzma.open", "zipfile.ZipFile", "tarfile.open")
WRITERS_BY_MODE = (*OPENING_CALLS, "os.open")
READING_CALLS = ("PIL.Image.open", "webbrowser.open")
WRITER = "files.py"
VERIFIED_READER = "models/lite0.py"  # its weights are published as .pth; their SHA-256 stands in the source
# A person's own state dict: of a bounded size, and nothing but tensors and plain values is unpickled.
BOUNDED_READER = "models/checkpoints.py"

FORBIDDEN_IN_PAGES = {
    "innerHTML": r"\b(inner|outer)HTML\b|\binsertAdjacentHTML\b",
    "eval": r"(?<![\w.])eval\s*\(",
    "new Function": r"\bnew\s+Function\b",
    "document.write": r"\bdocument\s*\.\s*write(ln)?\b",
    "a timer with text": r"\bset(Timeout|Interval)\s*\(\s*[\"'`]",
    "an inline handler": r"<[^>]+\son\w+\s*=\s*[\"']",
    "an address elsewhere": r"\b(src|href|action)\s*=\s*[\"']?(https?:)?//|url\(\s*[\"']?(https?:)?//",
    "a style sheet's import": r"@import\b",
}


def test_no_module_calls_anything_dangerous() -> None:
    assert [found for found in _over_the_package(dangers) if not _is_verified_read(found)] == []


def test_the_one_torch_load_reads_verified_bytes_and_nothing_but_tensors() -> None:
    tree = _parsed(PACKAGE / VERIFIED_READER)
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    (call,) = calls
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    assert given == {"map_location": "'cpu'", "weights_only": "True"}
    assert [ast.unparse(value) for value in call.args] == ["io.BytesIO(content)"]
    (reader,) = (
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and call in list(ast.walk(node))
    )
    (check,) = (
        node for node in reader.body if isinstance(node, ast.If) and "hexdigest" in ast.unparse(node.test)
    )
    assert "sha256(content)" in ast.unparse(check.test)
    assert isinstance(check.body[-1], ast.Raise)
    assert check.lineno < call.lineno


def test_the_other_torch_load_reads_bounded_bytes_and_nothing_but_tensors() -> None:
    tree = _parsed(PACKAGE / BOUNDED_READER)
    (reader,) = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and "torch.load(" in ast.unparse(node)
    )
    (call,) = (
        node
        for node in ast.walk(reader)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    )
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    assert given == {"map_location": "'cpu'", "weights_only": "True"}
    assert [ast.unparse(value) for value in call.args] == ["io.BytesIO(content)"]
    statements = [ast.unparse(node) for node in reader.body]
    assert "_refuse_bombs(content, limit)" in statements[:2]


def test_only_files_py_writes() -> None:
    found = [found for found in _over_the_package(writes) if not found.startswith(f"{WRITER}:")]
    assert [re.sub(r":\d+ ", ": ", each) for each in found] == ["reading.py: os.open"]


def test_reading_py_opens_files_for_nothing_but_reading() -> None:
    tree = _parsed(PACKAGE / READER)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    (opened,) = (call for call in calls if ast.unparse(call.func) == "os.open")
    assert ast.unparse(opened.args[1]) == "os.O_RDONLY | NOT_WAITING"
    flags = set(re.findall(r"'(O_\w+)'", ast.unparse(tree)))
    assert flags == {"O_NONBLOCK", "O_BINARY", "O_CLOEXEC"}


# What opens a file to read it. reading.py alone may; everybody else asks it, and so is never made to wait for
# a pipe or to read a device. Besides: what belongs to the package, what the system makes up while it is read,
# what is no file at all, and streams of a file that reading.py has opened.
READER = "reading.py"
READING = {
    "assets/__init__.py": {"read_text"},  # the package's own
    "language.py": {"read_text"},  # the package's own
    "machine.py": {"read_text"},  # /proc and /sys, whose files have no size
    "models/kernels/build.py": {"read_bytes"},  # its own source, and what it has just compiled
    "decode/process.py": {"os.fdopen"},  # its pipes
    "data/sources/archives.py": {"zipfile.ZipFile"},
    "data/sources/arrays.py": {"zipfile.ZipFile", "numpy.load"},
    "data/known/find.py": {"zipfile.ZipFile"},
    "models/lite0.py": {"torch.load"},  # bytes, verified
    "models/checkpoints.py": {"torch.load", "zipfile.ZipFile"},  # bytes, of a bounded size
    "decode/images.py": {"PIL.Image.open"},
    "files.py": {"os.fdopen"},  # to write
    "cli/__init__.py": {"os.fdopen"},  # to nowhere, in place of a stream that was closed
}
READING_FUNCTIONS = (
    "open", "io.open", "os.fdopen", "zipfile.ZipFile", "tarfile.open", "gzip.open", "bz2.open", "lzma.open",
    "numpy.load", "numpy.fromfile", "numpy.memmap", "numpy.loadtxt", "torch.load", "torch.from_file",
    "safetensors.safe_open", "safetensors.torch.load_file", "pandas.read_csv", "PIL.Image.open",
)  # fmt: skip


def reads(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, name) of every call that opens a file to read it."""
    known = _imported_names(tree)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = _dotted(call.func, known)
        if name in READING_FUNCTIONS:
            yield call.lineno, name
        elif isinstance(call.func, ast.Attribute) and call.func.attr in ("read_text", "read_bytes"):
            yield call.lineno, call.func.attr
        elif isinstance(call.func, ast.Attribute) and call.func.attr == "open":
            modes = [word.value for word in call.args[:1] if isinstance(word, ast.Constant)]
            others = {keyword.arg for keyword in call.keywords} - {"mode", "encoding", "errors", "newline"}
            if any(re.fullmatch(r"r[bt]?", str(mode)) for mode in modes) or not (call.args or others):
                yield call.lineno, "open"


def test_only_reading_py_opens_files_to_read() -> None:
    found = [
        f"{row}:{line} {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for row in [path.relative_to(PACKAGE).as_posix()]
        for line, name in reads(_parsed(path))
        if row != READER and name not in READING.get(row, ())
    ]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "open('x')",
        "path.open()",
        "path.open('rb')",
        "(folder / 'x').open(encoding='utf-8', newline='')",
        "path.read_text()",
        "import numpy as np\nnp.load(path)",
        "from safetensors import safe_open\nsafe_open(path, 'pt')",
        "import zipfile\nzipfile.ZipFile(path)",
    ],
)
def test_the_scan_finds_a_file_that_is_opened_to_be_read(code: str) -> None:
    assert list(reads(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ["Run.open(folder)", "archive.open(member)", "director.open(fullurl=url)", "open_regular(path)"]
)
def test_the_scan_lets_what_opens_no_file_pass(code: str) -> None:
    assert list(reads(ast.parse(code))) == []


def test_files_py_is_seen_writing() -> None:
    """The scan is not blind: it sees what files.py does."""
    seen = {name for _, name in writes(_parsed(PACKAGE / WRITER))}
    assert {"tempfile.mkstemp", ".replace", ".unlink", ".mkdir"} <= seen


def test_no_page_builds_itself_from_text() -> None:
    found = [
        f"{path.name}: {name}"
        for path in sorted((PACKAGE / "assets").rglob("*"))
        if path.suffix in (".js", ".html", ".css")
        for name in page_dangers(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "def late():\n    import dill as d",
        "import torch\ntorch.load('x')",
        "import torch as t\nt.load('x')",
        "from torch import load as read\nread('x')",
        "from torch import jit\njit.load('x')",
        "eval('1')",
        "exec('1')",
        "import builtins\nbuiltins.exec('1')",
        "__import__(name)",
        "import importlib\nimportlib.import_module(manifest['class'])",
        "import importlib\nimportlib.import_module(f'{manifest}.x')",
        "import yaml\nyaml.load(text)",
        "import numpy as np\nnp.load('x.npz', allow_pickle=True)",
        "import numpy as np\nnp.load('x.npz', allow_pickle=trusting)",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "archive.extractall('x')",
        "import shutil\nshutil.move('a', 'b')",
    ],
)
def test_the_scan_finds_a_danger(code: str) -> None:
    assert list(dangers(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "from safetensors.torch import load\nload(content)",
        "import numpy as np\nnp.load('x.npz')\nnp.load('x.npz', allow_pickle=False)",
        "import json\njson.load(file)",
        "network.eval()",
        "import importlib\nimportlib.import_module('pellucid.report.report')",
        "from importlib import import_module\nimport_module(f'pellucid.{home}')",
        "import re\nre.compile('x')",
    ],
)
def test_the_scan_lets_safe_calls_pass(code: str) -> None:
    assert list(dangers(ast.parse(code))) == []


@pytest.mark.parametrize(
    "code",
    [
        "open('x', 'w')",
        "open('x', mode='ab')",
        "open('x', 'r+b')",
        "open('x', mode)",
        "path.open('xb')",
        "path.open(mode)",
        "import os\nos.open(path, flags)",
        "import gzip\ngzip.open('x', 'wt')",
        "import zipfile\nzipfile.ZipFile('x', 'a')",
        "path.write_text('x')",
        "folder.mkdir()",
        "a.replace(b)",
        "import os\nos.replace(a, b)",
        "from os import rename as put\nput(a, b)",
        "import shutil\nshutil.rmtree(folder)",
        "import numpy as np\nnp.save('x', a)",
        "figure.savefig('x.png')",
    ],
)
def test_the_scan_finds_a_write(code: str) -> None:
    assert list(writes(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "open('x')",
        "path.open('rb')",
        "path.open(encoding='utf-8', newline='')",
        "from pellucid.files import write_text\nwrite_text(path, 'x')",
        "from pellucid import files\nfiles.write_bytes(path, b'x')",
        "'a-b'.replace('-', '_')",
        "from dataclasses import replace\nreplace(recipe, epochs=1)",
        "import io\nbuffer = io.BytesIO()\nfigure.savefig(buffer, format='png')",
        "from PIL import Image\nImage.open('x')",
        "from pellucid.runs.run import Run\nRun.open(folder)",
        "import os\nos.open(os.devnull, os.O_WRONLY)",
        "archive.open(member)",
        "import zipfile\nzipfile.ZipFile('x')",
    ],
)
def test_the_scan_lets_reading_pass(code: str) -> None:
    assert list(writes(ast.parse(code))) == []


@pytest.mark.parametrize(
    "text",
    [
        "cell.innerHTML = name",
        "x.outerHTML=''",
        "eval (text)",
        "new Function('x')",
        "document.write('x')",
        "setTimeout('x()', 1)",
        "<img src=x onerror='x()'>",
        "<script src='https://elsewhere.example/x.js'></script>",
        "<link href=//elsewhere.example/x.css>",
        "@import 'x.css'",
    ],
)
def test_the_scan_finds_a_danger_in_a_page(text: str) -> None:
    assert list(page_dangers(text))


def dangers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, name) of every import and call that could run what a file holds."""
    known = _imported_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in _names_of(node):
                if any(f"{name}.".startswith(f"{bad}.") for bad in FORBIDDEN_IMPORTS):
                    yield node.lineno, name
        if isinstance(node, ast.Call):
            yield from ((node.lineno, name) for name in _call_dangers(node, _dotted(node.func, known)))


def writes(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, name) of every call that writes, makes, renames or removes something on the disk."""
    known = _imported_names(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = _dotted(node.func, known)
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if name.startswith("pellucid.files.") or name in READING_CALLS or _opens_nothing(node, known):
            continue
        if name in WRITING_CALLS:
            yield node.lineno, name
        elif method in WRITING_METHODS or (method == "replace" and len(node.args) == 1 and not node.keywords):
            yield node.lineno, f".{method}"
        elif method == "savefig" and not _goes_to_memory(node, tree):
            yield node.lineno, ".savefig"
        elif name in OPENING_CALLS and _may_write(node, position=1):
            yield node.lineno, name
        elif method == "open" and name not in OPENING_CALLS and _may_write(node, position=0):
            yield node.lineno, ".open"


def page_dangers(text: str) -> Iterator[str]:
    """What a page's text holds that could turn a name or a file into code, or ask the network."""
    return (name for name, pattern in FORBIDDEN_IN_PAGES.items() if re.search(pattern, text))


def _call_dangers(call: ast.Call, name: str) -> Iterator[str]:
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if name.removeprefix("builtins.") in FORBIDDEN_CALLS:
        yield name
    if isinstance(call.func, ast.Attribute) and call.func.attr in FORBIDDEN_METHODS:
        yield call.func.attr
    if name.endswith("import_module") and not _stays_at_home(call):
        yield f"{name} of a name that is not written out"
    for keyword in ("allow_pickle", "shell"):
        if keyword in keywords and getattr(keywords[keyword], "value", True) is not False:
            yield f"{name}({keyword}=...)"


def _stays_at_home(call: ast.Call) -> bool:
    """Whether a module is named in full, or at least begins with "pellucid."."""
    start = call.args[0] if call.args else None
    if isinstance(start, ast.JoinedStr) and isinstance(start.values[0], ast.Constant):
        return str(start.values[0].value).startswith("pellucid.")
    return isinstance(start, ast.Constant)


def _opens_nothing(call: ast.Call, known: dict[str, str]) -> bool:
    """Whether the system's empty device is opened, or a method `open` is told a thing and not a mode: of an
    archive its member, of a run its folder.
    """
    first = call.args[0] if call.args else None
    is_a_thing = isinstance(first, ast.Name | ast.Attribute) and getattr(first, "id", "") != "mode"
    is_a_method = isinstance(call.func, ast.Attribute) and _dotted(call.func, known) not in WRITERS_BY_MODE
    return (is_a_method and call.func.attr == "open" and is_a_thing) or (
        first is not None and _dotted(first, known) == "os.devnull"
    )


def _may_write(call: ast.Call, *, position: int) -> bool:
    """Whether the mode, given there or as a keyword, is anything but reading."""
    mode = next((keyword.value for keyword in call.keywords if keyword.arg == "mode"), None)
    if mode is None and len(call.args) > position:
        mode = call.args[position]
    if mode is None:
        return False
    return not isinstance(mode, ast.Constant) or bool(set(str(mode.value)) & set("wax+"))


def _goes_to_memory(call: ast.Call, tree: ast.Module) -> bool:
    """Whether the first argument is a name that some line makes an io.BytesIO or io.StringIO."""
    in_memory = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and _dotted(node.value.func, {}).endswith(("BytesIO", "StringIO"))
    }
    return bool(call.args) and isinstance(call.args[0], ast.Name) and call.args[0].id in in_memory


def _imported_names(tree: ast.Module) -> dict[str, str]:
    """What each imported word stands for: {"np": "numpy", "load": "safetensors.torch.load"}."""
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {name.asname: name.name for name in node.names if name.asname}
        if isinstance(node, ast.ImportFrom):
            known |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
    return known


def _names_of(node: ast.Import | ast.ImportFrom) -> list[str]:
    prefix = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
    return [prefix + name.name for name in node.names]


def _dotted(function: ast.expr, known: dict[str, str]) -> str:
    """The full name of what is called, as far as the text tells: "numpy.load" for np.load."""
    if isinstance(function, ast.Name):
        return known.get(function.id, function.id)
    if isinstance(function, ast.Attribute):
        owner = _dotted(function.value, known)
        return f"{owner}.{function.attr}" if owner else f".{function.attr}"
    return ""


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _is_verified_read(found: str) -> bool:
    return found.startswith((f"{VERIFIED_READER}:", f"{BOUNDED_READER}:")) and found.endswith(" torch.load")


def _over_the_package(scan: object) -> Iterator[str]:
    for path in sorted(PACKAGE.rglob("*.py")):
        row = path.relative_to(PACKAGE).as_posix()
        yield from (f"{row}:{line} {name}" for line, name in scan(_parsed(path)))
