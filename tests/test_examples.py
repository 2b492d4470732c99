"""The notebook goes through a first lesson in eleven steps, and runs from top to bottom."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "first_lesson.ipynb"
SECONDS = 110  # about 10 on a machine that has nothing else to do

# In a process of its own: a notebook's kernel speaks over sockets, which a test may not open.
RUN = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=int(sys.argv[3])).execute(cwd=".")
nbformat.write(notebook, sys.argv[2])
"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The notebook's code cells after a run in an empty folder."""
    folder = tmp_path_factory.mktemp("notebook")
    command = [sys.executable, "-c", RUN, str(NOTEBOOK), "executed.ipynb", str(SECONDS)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    settings = {"PYTHONPATH": path, "IPYTHONDIR": str(folder), "JUPYTER_PLATFORM_DIRS": "1", "NO_COLOR": "1"}
    settings |= {"OMP_WAIT_POLICY": "PASSIVE"}  # threads that wait leave the processor to others
    done = subprocess.run(
        command, cwd=folder, env=os.environ | settings, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return code_cells(folder / "executed.ipynb")


def code_cells(path: Path) -> list[dict[str, Any]]:
    """The cells of a notebook that hold code."""
    return [
        cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"
    ]


def printed(cells: list[dict[str, Any]]) -> str:
    """What the cells put out, as text."""
    outputs = [output for cell in cells for output in cell["outputs"]]
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs]
    return "\n".join("".join(text) for text in texts)


def test_the_notebook_runs_and_learns(executed: list[dict[str, Any]]) -> None:
    verdict = re.search(r"(\d+) of (\d+) right", printed(executed))
    assert verdict is not None
    assert int(verdict[1]) / int(verdict[2]) >= 0.95


def test_the_notebook_draws_curves_predictions_mistakes_and_maps(executed: list[dict[str, Any]]) -> None:
    pictures = [
        output for cell in executed for output in cell["outputs"] if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 5


def test_the_notebook_complains_about_nothing(executed: list[dict[str, Any]]) -> None:
    complaints = [o for cell in executed for o in cell["outputs"] if o.get("name") == "stderr"]
    assert complaints == []


def test_the_notebook_has_the_eleven_steps_in_order() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    titles = [line for cell in cells for line in cell["source"] if line.startswith("## ")]
    assert [int(title.split()[1].rstrip(".")) for title in titles] == list(range(1, 12))


def test_the_notebook_is_stored_without_outputs() -> None:
    for cell in code_cells(NOTEBOOK):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


def test_the_cells_are_short() -> None:
    assert max(len(cell["source"]) for cell in code_cells(NOTEBOOK)) <= 12
