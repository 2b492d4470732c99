"""Hostile and damaged run folders: nothing hangs, nothing fills the memory, nothing ends in a traceback, and
nothing that was changed is read without a word."""

import hashlib
import json
import os
import random
import shutil
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load, save

from pellucid.errors import PellucidError
from pellucid.evaluation.novelty import REFERENCE
from pellucid.manifest import NAME
from pellucid.runs.run import Run
from pellucid.training.snapshots import SNAPSHOTS
from tests.attacks.canary import within
from tests.attacks.reading import read_all
from tests.resealed import change, reseal, rewrite
from tests.runs.toy_runs import SPLITS, started
from tests.toys import economical

FLIPS_PER_FILE = 24


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished toy run that was judged, and whose report was written."""
    folder = tmp_path_factory.mktemp("original") / "run"
    with economical():
        run = started(folder)
        run.evaluate(SPLITS.test)
        run.causes(SPLITS)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of it, to be attacked."""
    return Path(shutil.copytree(original, tmp_path / "run"))


def names_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_sound_run_is_read_without_a_word_but_that_its_pictures_were_in_memory(original: Path) -> None:
    assert [said for said in read_all(original) if "memory" not in said] == []


def test_every_flipped_bit_and_every_cut_is_named(folder: Path, tmp_path: Path) -> None:
    """What changes nothing is white space in the manifest, which is compared as what it says."""
    generator, silent = random.Random(5), []
    for name in names_of(folder):
        content = (folder / name).read_bytes()
        places = [0, len(content) - 1, *(generator.randrange(len(content)) for _ in range(FLIPS_PER_FILE))]
        flips = [content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :] for at in places]
        cuts = [content[:end] for end in (0, 1, len(content) // 3, len(content) - 1)]
        for changed in (*flips, *cuts, content + b"x"):
            (folder / name).write_bytes(changed)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    with economical():
                        Run.open(folder)
                    said = [str(each.message) for each in caught]
                except PellucidError as error:
                    said = [str(error)]
            harmless = name == NAME and changed.split() == content.split()
            if not harmless and not any(f"{name}'" in each for each in said):
                silent.append((name, len(changed)))
        (folder / name).write_bytes(content)
    assert silent == []
    assert [said for said in read_all(folder) if "memory" not in said] == []


SPECIAL: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "endless zeros": lambda path: path.symlink_to("/dev/zero"),
    "a terminal": lambda path: path.symlink_to("/dev/tty"),
    "a folder": os.mkdir,
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a terabyte": lambda path: (path.touch(), os.truncate(path, 1 << 40)),
    "nothing": lambda path: None,
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_file_is_named_and_not_waited_for(folder: Path, kind: str) -> None:
    for name in names_of(folder):
        kept = (folder / name).read_bytes()
        (folder / name).unlink()
        SPECIAL[kind](folder / name)
        said = read_all(folder)
        assert any(f"{name}'" in each for each in said) or "nothing" in kind, name
        (folder / name).rmdir() if kind == "a folder" else (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(kept)
    assert [said for said in read_all(folder) if "memory" not in said] == []


def test_a_socket_in_place_of_a_file_is_named(folder: Path) -> None:
    for name in ("model.json", "model.safetensors", "evaluation.json", "snapshots.safetensors"):
        kept = (folder / name).read_bytes()
        (folder / name).unlink()
        with socket.socket(socket.AF_UNIX) as listener, pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)  # the whole path may be too long for a socket
            listener.bind(name)
            assert any(f"{name}'" in each for each in read_all(folder))
        (folder / name).unlink()
        (folder / name).write_bytes(kept)


TEXTS = {
    "empty": "", "no object": "[]", "null": "null", "a key twice": '{"format": 1, "format": 1}',
    "not a number": '{"format": NaN}', "too large a number": '{"format": 1' + "0" * 5_000 + "}",
    "infinite": '{"format": 1e999}', "deep": "[" * 200_000, "deep objects": '{"a":' * 200_000,
    "no UTF-8": b"\xff\xfe", "zeros": bytes(1000), "a pickle": b"\x80\x04c__builtin__\neval\n.",
    "a zip": b"PK\x03\x04" + bytes(100), "code": "__import__('os').system('rm canary')",
}  # fmt: skip


@pytest.mark.parametrize("kind", TEXTS)
def test_a_maker_of_files_that_are_none_of_theirs_gets_a_message(folder: Path, kind: str) -> None:
    for name in names_of(folder):
        kept = {each: (folder / each).read_bytes() for each in (name, NAME)}
        (folder / name).write_bytes(TEXTS[kind].encode() if isinstance(TEXTS[kind], str) else TEXTS[kind])
        if name != NAME:
            reseal(folder)
        read_all(folder)
        for each, content in kept.items():
            (folder / each).write_bytes(content)


WRONG: list[Any] = [
    None, True, -1, 0, 2**62, 1.5, "", "x", "x" * 2_000, [], [[]], {}, {"a": 1}, "../../etc/passwd",
    "\x1b]0;x\x07",
]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["model.json", "recipe.json", "environment.json", "evaluation.json", "findings.json"]
)
def test_a_maker_of_odd_values_gets_a_message(folder: Path, name: str) -> None:
    """Each entry of each file, replaced by every fifth of these in turn, added to and taken away."""
    sound = json.loads((folder / name).read_text())
    for number, key in enumerate(sound):
        for value in WRONG[number % 5 :: 5]:
            change(folder / name, **{key: value})
            read_all(folder)
            rewrite(folder / name, json.dumps(sound))
        rewrite(folder / name, json.dumps({each: value for each, value in sound.items() if each != key}))
        read_all(folder)
    if name in ("model.json", "recipe.json"):
        change(folder / name, extra=1)
        rewritten = read_all(folder)
        assert any("extra" in each for each in rewritten)


@pytest.mark.parametrize(
    "name", ["metrics.csv", "split.csv", "predictions.csv", "held_out.csv", "margins.csv"]
)
def test_a_maker_of_odd_tables_gets_a_message(folder: Path, name: str) -> None:
    header, first, *rest = (folder / name).read_text().splitlines()
    cells = first.split(",")
    for changed in (
        ",".join(["x"] * len(cells)), ",".join(["nan"] * len(cells)), ",".join(["inf"] * len(cells)),
        ",".join(["9" * 400] * len(cells)), ",".join([""] * len(cells)), first + ",more",
        ",".join(cells[:-1]),
        '"' + "x" * 200_000 + '",' + ",".join(cells[1:]), "=cmd()," + ",".join(cells[1:]),
    ):  # fmt: skip
        rewrite(folder / name, "\n".join([header, changed, *rest]) + "\n")
        read_all(folder)
    rewrite(folder / name, "\n".join([header.replace(",", ",source,"), first, *rest]) + "\n")
    read_all(folder)


def planted(path: Path, name: str, value: float) -> None:
    """One number of one tensor in a file is replaced, and the folder sealed as if nothing had happened."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load(path.read_bytes())
    tensors[name].view(-1)[0] = value
    content = save(tensors, metadata)
    if path.name == "model.safetensors":
        change(path.with_name("model.json"), sha256=hashlib.sha256(content).hexdigest())
    rewrite(path, content)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_is_named_wherever_it_is_planted(folder: Path, value: float) -> None:
    count = 0
    for name in ("model.safetensors", SNAPSHOTS, REFERENCE):
        kept = {each: (folder / each).read_bytes() for each in (name, "model.json", NAME)}
        floats = [key for key, tensor in load(kept[name]).items() if tensor.is_floating_point()]
        for key in floats[:: max(1, len(floats) // 8)]:
            planted(folder / name, key, value)
            message = f"{name}' is damaged: its tensor '{key}' has numbers that are not finite"
            assert any(message in each for each in read_all(folder)), key
            for each, content in kept.items():
                (folder / each).write_bytes(content)
            count += 1
    assert count >= 16


def test_scores_that_are_too_large_give_no_answer(folder: Path) -> None:
    """Or probabilities that are some: those of scores that are large and finite."""
    refused = 0
    parameters = dict(Run.open(folder).classifier.network.named_parameters())
    for key in (name for name in parameters if "weight" in name):
        kept = {each: (folder / each).read_bytes() for each in ("model.safetensors", "model.json", NAME)}
        tensors = load(kept["model.safetensors"])
        tensors[key] = tensors[key].sign() * 3e38
        content = save(tensors)
        change(folder / "model.json", sha256=hashlib.sha256(content).hexdigest())
        rewrite(folder / "model.safetensors", content)
        with economical():
            try:
                probabilities = Run.open(folder).classifier.predict(SPLITS.test.images[:2])
                assert (probabilities.sum(dim=1) - 1).abs().max() < 1e-5
            except PellucidError as error:
                assert "no probabilities that add up to 1" in str(error)  # noqa: PT017
                refused += 1
        for each, content in kept.items():
            (folder / each).write_bytes(content)
    assert refused


@pytest.mark.parametrize(
    "claim",
    [
        {"height": 16_384, "width": 16_384}, {"height": 4_096, "width": 4_096}, {"height": 10**12},
        {"channels": 1 << 40}, {"white": 0}, {"fit": "../x"}, {"code": "print()"},
    ],
)  # fmt: skip
def test_a_network_beyond_all_bounds_is_refused(folder: Path, claim: dict[str, Any]) -> None:
    preprocess = json.loads((folder / "model.json").read_text())["preprocess"]
    change(folder / "model.json", preprocess={**preprocess, **claim})
    assert any("model.json' is damaged" in each for each in read_all(folder))


def test_a_pattern_without_end_in_a_run_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.data.sources.patterns.SECONDS", 0.5)
    from pellucid import load as load_pictures
    from tests.toys import toy_dataset, write_picture

    toys = toy_dataset(8)
    for index in range(8):
        place = tmp_path / "data" / toys.label_names[index]
        place.mkdir(parents=True, exist_ok=True)
        write_picture(place / f"{'a' * 40}{index}.png", toys.images[index])
    with within(30), pytest.raises(PellucidError, match="Leave out repetitions within repetitions"):
        load_pictures(tmp_path / "data", group_by="(([a-z]+)+)+$")
