"""`load` gives the pictures it is asked for, and finds them again as they were."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pellucid.data import DATASETS, is_known, load, load_again, locate
from pellucid.data.dataset import Origin
from pellucid.data.own import read_own
from pellucid.data.preprocess import Preprocess
from pellucid.errors import UsageError
from tests.data.folders import picture, planted, shapes


def test_load_takes_a_folder_arrays_or_a_frame_and_knows_its_names_first(tmp_path: Path) -> None:
    folder = shapes(tmp_path / "pictures")
    assert load(folder).train.fingerprint == read_own(folder).splits.train.fingerprint
    random = np.random.default_rng(0)
    splits = load((random.integers(0, 256, (60, 9, 9), np.uint8), np.arange(60) % 3))
    assert Counter(len(part) > 0 for _, part in splits.items()) == {True: 3}
    assert is_known("digits")
    assert not is_known(str(folder))
    with pytest.raises(UsageError, match="Unknown data set 'minst'"):
        load("minst")
    with pytest.raises(UsageError, match="Unknown data set ''"):
        load("")
    with pytest.raises(UsageError, match="`size` is for your own pictures"):
        load("digits", size=16)


def test_labels_from_names_are_found_again(tmp_path: Path) -> None:
    files = {f"images/{'ab'[n % 2]}_{n}.png": picture(n) for n in range(40)}
    splits = load(planted(tmp_path / "pictures", files), label_from="([ab])_")
    assert splits.train.classes == ("a", "b")
    again = load_again(Origin.from_json(splits.origin.to_json()))
    assert [part.fingerprint for _, part in again.items()] == [part.fingerprint for _, part in splits.items()]
    with pytest.raises(UsageError, match="`label_from` is for your own pictures"):
        load("digits", label_from="x")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    for ask in (load, locate):
        with pytest.raises(
            UsageError,
            match=r"^Unknown data set 'minst'\. Did you mean 'mnist'\? Known: cifar-10, .*, kmnist, mnist\.",
        ):
            ask("minst")


def test_a_known_set_is_split_by_its_seed_and_its_test_part_is_nobodys_choice() -> None:
    first, same, other = load("digits"), load("digits"), load("digits", seed=7)
    assert first.train.fingerprint == same.train.fingerprint != other.train.fingerprint
    assert first.test.fingerprint == other.test.fingerprint
    smaller = load("digits", validation=0.1)
    assert len(smaller.validation) < len(first.validation)
    assert len(smaller.train) + len(smaller.validation) == len(first.train) + len(first.validation)
    assert smaller.test.fingerprint == first.test.fingerprint
    sources = [source for _, part in first.items() for source in part.sources]
    assert len(set(sources)) == len(sources)


def test_the_origin_says_what_was_asked_for_and_how_pictures_are_read() -> None:
    origin = load("digits", seed=3).origin
    assert (origin.name, origin.known, origin.location, origin.data) == ("digits", True, "", "digits")
    assert origin.choices.seed == 3
    assert origin.preprocess == Preprocess(1, 8, 8)
    assert origin.found == 1797
    assert load_again(origin).validation.fingerprint == load("digits", seed=3).validation.fingerprint


def test_pictures_that_were_moved_are_found_where_they_are_named(tmp_path: Path) -> None:
    folder = shapes(tmp_path / "pictures")
    splits = load(folder)
    folder.rename(tmp_path / "moved")
    with pytest.raises(UsageError, match="does not exist"):
        load_again(splits.origin)
    again = load_again(splits.origin, data_dir=tmp_path / "moved")
    assert [part.fingerprint for _, part in again.items()] == [part.fingerprint for _, part in splits.items()]


def test_values_from_memory_are_asked_for_again() -> None:
    with pytest.raises(UsageError, match=r"'values' came from memory.*Pass the pictures again"):
        load_again(Origin("values"))


def test_a_place_is_told_without_reading_it(tmp_path: Path) -> None:
    assert locate("digits") == "embedded"
    assert locate("mnist") is None
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    for file in DATASETS["mnist"].files:
        (folder / file.name).write_bytes(b"")
    assert locate("mnist", tmp_path / "data") == str(folder)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("./absent", r"^'\./absent' does not exist\. Expected a folder of pictures"),
        ("mnits", r"Did you mean 'mnist'\? .*Nor is it a folder"),
        (3, r"got int"),
    ],
)
def test_what_is_neither_a_name_nor_pictures_is_refused(data: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(data)


def test_a_name_that_is_known_is_never_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes(tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    assert load("digits").train.size == (8, 8)
    assert load("./digits").train.size == (16, 16)
