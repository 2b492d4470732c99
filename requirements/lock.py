"""Pins every dependency of pyproject.toml, and theirs, by version and SHA-256: the files beside this one.

    make lock                        after a change of pyproject.toml: what is pinned stays, where it may
    make lock UPGRADE=pillow         the newest pillow that fits; UPGRADE=all: the newest of everything

A file of requirements holds for every system and Python that the package runs on: uv resolves for all of
them at once, and writes the hashes of all files of a release. It is asked of the package index that uv knows
(UV_DEFAULT_INDEX for another), and needs the metadata alone: no torch is fetched.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
# What the quick tests of the package need beside it: .ci/pythons installs no more than that.
TESTING = set("pytest pytest-timeout pytest-xdist hypothesis pandas hatchling editables packaging".split())
# PyTorch's own builds without CUDA, a third of the size, are on no package index that everybody uses.
CPU_BUILDS = {
    "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl": (
        "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"
    ),
}
ONLY_FOR_TORCH = re.compile(r"(torch|triton|cuda-[\w-]+|nvidia-[\w-]+)==")
HEADS = {
    "development.txt": "All that development needs, every extra included; torch is in torch.txt.",
    "package.txt": "The package and what its quick tests need, the same versions; torch is in torch.txt.",
    "lowest.txt": "As package.txt, at the lowest versions that pyproject.toml allows; torch is in torch.txt.",
    "torch.txt": "torch and the libraries of CUDA, as the package index has them.",
    "torch-cpu.txt": "torch without CUDA, from a folder that pip is told of (PIP_FIND_LINKS).",
}


def main() -> None:
    """Writes the five files anew."""
    upgrade = [f"--upgrade-package={name}" for name in sys.argv[1:] if name != "all"]
    upgrade += ["--upgrade"] if "all" in sys.argv[1:] else []
    development, torch = divided(
        resolved(names_of_everything(), known("development.txt", "torch.txt"), upgrade)
    )
    version = torch_version(torch)
    pins = "\n".join([*development, *torch])
    package, _ = divided(resolved(names_of_the_package(), pins))
    direct = {bare(line) for line in names_of_the_package()}
    indirect = "\n".join(release for release in package if bare(release) not in direct)
    asked = [*names_of_the_package(), f"torch=={version}"]
    lowest, _ = divided(resolved(asked, indirect, ["--resolution=lowest-direct"]))
    builds = [sha for name, sha in CPU_BUILDS.items() if name.startswith(f"torch-{version}+")]
    if not builds:
        print(f"No CPU build of torch {version} is known: add its SHA-256 to CPU_BUILDS in {__file__}.")
    hashes = [f"    --hash=sha256:{sha}" for sha in builds]
    write("development.txt", development)
    write("package.txt", package)
    write("lowest.txt", lowest)
    write("torch.txt", torch)
    write("torch-cpu.txt", [" \\\n".join([f"torch=={version}", *hashes])])


def names_of_the_package() -> list[str]:
    """The requirements of the package, and of what tests it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    testing = [line for line in project["optional-dependencies"]["dev"] if bare(line) in TESTING]
    return [*project["dependencies"], *testing]


def names_of_everything() -> list[str]:
    """The requirements of the package and of all extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    return [*project["dependencies"], *(line for extra in extras for line in extra)]


def bare(requirement: str) -> str:
    """The name in a requirement: numpy of numpy>=2.0."""
    return re.split(r"[<>=!~;\[ ]", requirement, maxsplit=1)[0].lower()


def known(*names: str) -> str:
    """What is pinned already, to be kept where it may."""
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in names if (HERE / name).is_file())


def resolved(requirements: list[str], pins: str, options: list[str] | None = None) -> list[str]:
    """The requirements and all of theirs, one text for each release with its marker and hashes."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answer = Path(folder, "asked.in"), Path(folder, "answer.txt")
        asked.write_text("\n".join(requirements), encoding="utf-8")
        answer.write_text(pins, encoding="utf-8")
        words = "-m uv pip compile --universal --python-version=3.11 --fork-strategy=fewest"
        words += " --generate-hashes --no-config --no-header --no-annotate --quiet --output-file"
        command = [sys.executable, *words.split(), str(answer), str(asked), *(options or [])]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return re.split(r"\n(?=\S)", answer.read_text(encoding="utf-8").strip())


def divided(releases: list[str]) -> tuple[list[str], list[str]]:
    """Those that every machine takes from the same files, and torch with what only its CUDA builds need."""
    torch = [release for release in releases if ONLY_FOR_TORCH.match(release)]
    return [release for release in releases if release not in torch], torch


def torch_version(releases: list[str]) -> str:
    """The version of torch that is pinned."""
    return next(
        match[1] for match in (re.match(r"torch==([\w.]+)", release) for release in releases) if match
    )


def write(name: str, releases: list[str]) -> None:
    """One of the files, with a head that says what it is."""
    head = [f"# {HEADS[name]}", "# Made by `make lock` (requirements/lock.py). Not to be edited."]
    (HERE / name).write_text("\n".join([*head, *releases]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
