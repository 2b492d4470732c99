"""Pictures are left out and labels changed as a table says, and nothing else moves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pellucid.data import load, load_again
from pellucid.data.corrections import corrected, read_corrections
from pellucid.data.dataset import Corrections, Dataset, Origin, Splits
from pellucid.errors import UsageError
from tests.data.folders import shapes
from tests.toys import toys_of_several_labels


def labels_in(splits: Splits) -> dict[str, tuple[str, str]]:
    """The part and the label of every picture by its source."""
    return {
        source: (name, label)
        for name, part in splits.items()
        for source, label in zip(part.sources, part.label_names, strict=True)
    }


def table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_the_other_pictures_stay_where_they_were(tmp_path: Path) -> None:
    folder = shapes(tmp_path / "photos")
    before = labels_in(load(folder))
    gone, wrong = sorted(before)[3], sorted(before)[7]
    other = next(label for _, label in before.values() if label != before[wrong][1])
    after = labels_in(
        load(
            folder,
            exclude=table(tmp_path / "out.csv", f"source\n{gone}\n"),
            relabel=table(tmp_path / "new.csv", f"source;label\n{wrong};{other}\n"),
        )
    )
    assert after == {
        source: (part, other if source == wrong else label)
        for source, (part, label) in before.items()
        if source != gone
    }


def test_known_data_sets_are_corrected_by_the_same_words() -> None:
    before = labels_in(load("digits"))
    source = load("digits").train.sources[5]
    for given in ([source], {source}, (each for each in [source])):
        after = load("digits", exclude=given)
        assert labels_in(after).keys() == before.keys() - {source}
    new = "7" if before[source][1] != "7" else "1"
    assert labels_in(load("digits", relabel={source: new}))[source] == ("train", new)


def test_suspects_are_relabelled_by_what_is_suggested() -> None:
    path = table(Path("suspects.csv"), "source,label,suggested_label\ndigits/349,5,1\n")
    assert read_corrections(relabel=path).relabel == (("digits/349", "1"),)
    assert read_corrections(exclude=path).exclude == ("digits/349",)


def test_the_origin_says_it_and_finds_the_same_pictures_again_without_the_table() -> None:
    splits = load("digits")
    test, train = splits.test.sources, splits.train.sources
    path = table(Path("out.csv"), f"source\n{test[0]}\n{train[0]}\n")
    labels = {test[1]: splits.test.label_names[1], test[2]: "0" if splits.test.label_names[2] != "0" else "1"}
    once = load("digits", exclude=path, relabel=labels)
    path.unlink()
    assert (once.origin.test_excluded, once.origin.test_relabelled) == (1, 1)  # the other label is as it was
    assert once.origin.test_corrections == (
        "1 test label was changed by `relabel`. 1 test picture was left out by 'out.csv'."
    )
    assert [str(note) for note in once.origin.notes] == [
        "2 pictures are left out, as 'out.csv' says", "2 labels are changed, as `relabel` says",
    ]  # fmt: skip
    origin = Origin.from_json(once.origin.to_json())
    again = load_again(origin)
    assert labels_in(again) == labels_in(once)
    assert [part.fingerprint for _, part in again.items()] == [part.fingerprint for _, part in once.items()]
    assert origin.test_corrections == once.origin.test_corrections


def test_several_labels_are_named_together() -> None:
    dataset = toys_of_several_labels(40)
    splits = Splits(dataset.subset(range(30)), dataset.subset(range(30, 35)), dataset.subset(range(35, 40)))
    source = splits.train.sources[0]
    for name in ("blue|box", "", "red|post|box"):
        after = corrected(splits, Corrections(relabel=((source, name),)))
        assert set(after.train.label_names[0].split("|")) == set(name.split("|"))


def test_nothing_asked_for_changes_nothing() -> None:
    splits = load("digits")
    assert corrected(splits, read_corrections(table(Path("none.csv"), "source,label\n"))) is splits
    assert splits.origin.test_corrections == ""


def refusals() -> list[Any]:
    return [
        (lambda: load("digits", exclude="absent.csv"), r"`exclude=absent.csv` is not a file"),
        (lambda: load("digits", relabel="absent.csv"), r"`relabel=absent.csv` is not a file"),
        (
            lambda: load("digits", exclude=table(Path("a.csv"), "name,label\nx,1\n")),
            r"'a.csv' has no column source; got name, label",
        ),
        (
            lambda: load("digits", relabel=table(Path("a.csv"), "source,score\ndigits/1,1\n")),
            r"'a.csv' has no column of new labels; got source, score. Expected suggested_label, or label",
        ),
        (
            lambda: load("digits", exclude=table(Path("a.csv"), "source\nmnist/1\nmnist/2\n")),
            r"'a.csv' names pictures that are not here: 'mnist/1', 'mnist/2'. Sources look like 'digits/",
        ),
        (
            lambda: load("digits", exclude=["mnist/1"]),
            r"`exclude` names pictures that are not here: 'mnist/1'",
        ),
        (
            lambda: load("digits", relabel={"digits/1": "eleven"}),
            r"`relabel` has the label 'eleven', which is not one of the classes. Known: 0, 1",
        ),
        (
            lambda: load("digits", exclude=["digits/1"], relabel={"digits/1": "2"}),
            r"'digits/1' would be both left out and relabelled",
        ),
        (
            lambda: load(
                "digits", relabel=table(Path("a.csv"), "source,label\ndigits/1,1\ndigits/1,2\n")
            ),
            r"'a.csv' gives 'digits/1' two labels, '1' and '2'. Expected one",
        ),
    ]  # fmt: skip


@pytest.mark.parametrize(("asked", "message"), refusals())
def test_what_cannot_be_meant_is_refused_in_words(asked: Callable[[], Splits], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        asked()


def test_a_class_is_not_emptied() -> None:
    images = torch.zeros(6, 1, 8, 8, dtype=torch.uint8)
    dataset = Dataset(images, torch.tensor([0, 0, 0, 1, 1, 1]), ("a", "b"), list("uvwxyz"))
    splits = Splits(dataset, dataset.subset([]), dataset.subset([]))
    with pytest.raises(UsageError, match="No training picture of 'b' is left"):
        corrected(splits, Corrections(exclude=("x", "y", "z")))
