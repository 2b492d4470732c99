"""The wheel is the same bytes wherever and whenever it is built, and tells what it is made of."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
SOURCES = (
    "pellucid docs tests examples requirements pyproject.toml README.md LICENSE NOTICE .gitignore".split()
)
SOURCES += "CHANGELOG.md CONTRIBUTING.md SECURITY.md CITATION.cff Makefile".split()
UNWANTED = shutil.ignore_patterns("__pycache__", "node_modules", ".hypothesis")


def copied(folder: Path) -> Path:
    """The sources in another folder: their times are those of the copying."""
    folder.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=UNWANTED, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def built(sources: Path, into: Path, **environment: str) -> dict[str, bytes]:
    """Both archives of the sources: content by the end of their name, .whl and .gz."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", str(into)]
    subprocess.run(command, cwd=sources, env=os.environ | environment, check=True, capture_output=True)
    return {path.suffix: path.read_bytes() for path in into.iterdir()}


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, bytes]]:
    """Both archives, built in two folders of other names, times, permissions and environments."""
    here = tmp_path_factory.mktemp("wheel")
    first = built(copied(here / "one"), here / "1")
    other = copied(here / "another folder")
    for path in sorted(other.rglob("*"), reverse=True):
        path.chmod(0o700 if path.is_dir() else 0o640)
        os.utime(path, (time.time() - 1e8, time.time() - 1e8))
    return [first, built(other, here / "2", TZ="Asia/Seoul", LC_ALL="C", PYTHONHASHSEED="7")]


@pytest.fixture(scope="module")
def wheel(twice: list[dict[str, bytes]], tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, opened."""
    path = tmp_path_factory.mktemp("opened") / "pellucid.whl"
    path.write_bytes(twice[0][".whl"])
    return zipfile.ZipFile(path)


@pytest.mark.parametrize("kind", [".whl", ".gz"])
def test_built_twice_it_is_the_same_bytes(kind: str, twice: list[dict[str, bytes]]) -> None:
    first, second = (hashlib.sha256(archives[kind]).hexdigest() for archives in twice)
    assert first == second


def test_the_wheel_of_the_source_archive_is_that_of_the_sources(
    twice: list[dict[str, bytes]], tmp_path: Path
) -> None:
    (tmp_path / "source.tar.gz").write_bytes(twice[0][".gz"])
    with tarfile.open(tmp_path / "source.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    (sources,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert built(sources, tmp_path / "built")[".whl"] == twice[0][".whl"]


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "pellucid"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    if not listed:
        pytest.skip("no checkout of git to compare with")
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert inside == {name for name in listed if (ROOT / name).exists()}
    about = {name.partition(".dist-info/")[2] for name in wheel.namelist()} - {""}
    licences = {"licenses/LICENSE", "licenses/NOTICE"}
    assert about == {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "sboms/pellucid.cdx.json"} | licences


def materials(wheel: zipfile.ZipFile) -> dict[str, object]:
    """The bill of materials in a wheel."""
    (name,) = (name for name in wheel.namelist() if ".dist-info/sboms/" in name)
    return json.loads(wheel.read(name))


def test_the_bill_of_materials_has_what_its_format_asks_for(wheel: zipfile.ZipFile) -> None:
    bill = materials(wheel)
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.7", 1)
    package = bill["metadata"]["component"]
    parts = [package, *package["components"], *bill["components"]]
    assert all(part["type"] in ("library", "data") and part["name"] for part in parts)
    references = [part["bom-ref"] for part in parts]
    assert len(references) == len(set(references))
    for external in bill["components"]:
        assert external["isExternal"]
        assert "version" not in external  # the format allows a range or a version
        assert re.fullmatch(r"vers:pypi/[\w.<>=|]+", external["versionRange"])
    (dependency,) = bill["dependencies"]
    assert dependency["ref"] == package["bom-ref"]
    assert set(dependency["dependsOn"]) == {part["bom-ref"] for part in bill["components"]}


def test_the_bill_of_materials_agrees_with_what_an_installer_is_told(wheel: zipfile.ZipFile) -> None:
    """Its own reading of METADATA, not of pyproject.toml, from which the bill is made."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    told = Parser().parsestr(wheel.read(name).decode())
    bill = materials(wheel)
    package = bill["metadata"]["component"]
    assert (package["name"], package["version"]) == (told["Name"], told["Version"])
    assert package["licenses"][0]["license"]["id"] == told["License-Expression"]
    asked = {}
    for requirement in map(Requirement, told.get_all("Requires-Dist")):
        extra = re.search(r"extra == '(\w+)'", str(requirement.marker or "").replace('"', "'"))
        if extra is None or extra[1] != "dev":
            asked[requirement.name] = (requirement.specifier, "required" if extra is None else "optional")
    said = {}
    for part in bill["components"]:
        limits = part["versionRange"].removeprefix("vers:pypi/").split("|")
        limits = [limit if limit[0] in "<>" else f"=={limit}" for limit in limits]
        said[part["name"]] = (SpecifierSet(",".join(limits)), part["scope"])
    assert said == asked


def test_what_is_embedded_is_named_in_the_notice_too(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("licenses/NOTICE"))
    notice = " ".join(wheel.read(name).decode().split())
    embedded = materials(wheel)["metadata"]["component"]["components"]
    assert [part["name"] for part in embedded] == ["viridis", "ColorBrewer"]
    for part in embedded:
        assert part["author"].split(" and ")[0].split(",")[0] in notice


def test_the_bill_of_materials_is_up_to_date() -> None:
    command = [sys.executable, ROOT / "docs" / "make_sbom.py", "--print"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    made = subprocess.run(command, env=environment, capture_output=True, check=True).stdout.decode()
    assert made == (ROOT / "docs" / "pellucid.cdx.json").read_text(encoding="utf-8"), "run `make docs`"
