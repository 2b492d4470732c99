"""The command ends with a line and 130 when Ctrl-C comes while its modules are still being loaded."""

import subprocess
import sys

from tests.toys import surroundings


def test_ctrl_c_while_modules_are_loaded_ends_with_a_line() -> None:
    program = (
        "import sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'pellucid.cli.output': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from pellucid.__main__ import run\n"
        "run()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=surroundings())
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "pellucid: Stopped by Ctrl-C.\n")


def test_the_module_is_the_command_line() -> None:
    command = [sys.executable, "-m", "pellucid", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, env=surroundings())
    assert done.returncode == 0
    assert done.stdout.startswith("pellucid ")
