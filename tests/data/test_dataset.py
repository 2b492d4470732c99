"""Pictures and labels fit one another, and parting them is honest."""

import hashlib
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedShuffleSplit

from pellucid.data.dataset import Dataset, Splits, content_hashes, joined, split
from pellucid.errors import UsageError
from tests.toys import toys_of_several_labels

CLASSES = ("cat", "dog", "owl")


def toy(pixels: list[int], labels: list[int], classes: tuple[str, ...] = CLASSES) -> Dataset:
    """One 1x2 picture a pixel value, which decides it: equal values are identical pictures."""
    images = torch.tensor([[value // 256, value % 256] for value in pixels], dtype=torch.uint8)
    return Dataset(
        images.reshape(-1, 1, 1, 2),
        torch.tensor(labels, dtype=torch.int64),
        classes,
        [f"{index}.png" for index in range(len(pixels))],
    )


def contents(dataset: Dataset) -> set[bytes]:
    return set(content_hashes(dataset))


def test_a_dataset_tells_its_shape_and_counts() -> None:
    dataset = toy([1, 2, 3], [0, 2, 2])
    assert (len(dataset), dataset.channels, dataset.size) == (3, 1, (1, 2))
    assert dataset.counts == {"cat": 1, "dog": 0, "owl": 2}


@pytest.mark.parametrize(
    ("images", "labels", "classes", "sources", "message"),
    [
        (
            torch.zeros(2, 1, 2, 2),
            torch.tensor([0, 1]),
            CLASSES,
            ["a", "b"],
            r"Expected images as uint8 \(N, C, H, W\); got float32 \(2, 1, 2, 2\)\. Scale to 0\.\.255",
        ),
        (
            torch.zeros(2, 2, 2, dtype=torch.uint8),
            torch.tensor([0, 1]),
            CLASSES,
            ["a", "b"],
            r"got uint8 \(2, 2, 2\)",
        ),
        (
            torch.zeros(2, 1, 2, 2, dtype=torch.uint8),
            torch.tensor([0, 1, 1]),
            CLASSES,
            ["a", "b"],
            r"Expected labels as int64 \(2,\), one a picture; got int64 \(3,\)",
        ),
        (
            torch.zeros(2, 1, 2, 2, dtype=torch.uint8),
            torch.tensor([0, 1], dtype=torch.int32),
            CLASSES,
            ["a", "b"],
            r"Expected labels as int64 \(2,\), one a picture; got int32 \(2,\)",
        ),
        (
            torch.zeros(2, 1, 2, 2, dtype=torch.uint8),
            torch.tensor([0, 1]),
            CLASSES,
            ["a"],
            "Expected 2 sources, one a picture; got 1",
        ),
        (
            torch.zeros(2, 1, 2, 2, dtype=torch.uint8),
            torch.tensor([0, 1]),
            ("cat", "cat"),
            ["a", "b"],
            "Expected class names that differ; got cat, cat",
        ),
        (
            torch.zeros(2, 1, 2, 2, dtype=torch.uint8),
            torch.tensor([0, 3]),
            CLASSES,
            ["a", "b"],
            "Expected labels from 0 to 2 for 3 classes; got 0 to 3",
        ),
        (
            torch.zeros(2, 1, 2, 2, dtype=torch.uint8),
            torch.tensor([-1, 0]),
            CLASSES,
            ["a", "b"],
            "Expected labels from 0 to 2 for 3 classes; got -1 to 0",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused_with_what_was_received(
    images: torch.Tensor, labels: torch.Tensor, classes: tuple[str, ...], sources: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Dataset(images, labels, classes, sources)


def test_a_subset_keeps_picture_label_and_source_together() -> None:
    part = toy([10, 20, 30], [0, 1, 2]).subset(torch.tensor([2, 0]))
    assert part.images[:, 0, 0, 1].tolist() == [30, 10]
    assert part.labels.tolist() == [2, 0]
    assert list(part.sources) == ["2.png", "0.png"]


def test_the_fingerprint_follows_pixels_labels_and_classes_and_nothing_else() -> None:
    dataset = toy([1, 2, 3], [0, 1, 2])
    elsewhere = Dataset(dataset.images, dataset.labels, dataset.classes, ["x", "y", "z"])
    assert elsewhere.fingerprint == dataset.fingerprint
    others = [
        toy([1, 2, 4], [0, 1, 2]),
        toy([1, 2, 3], [0, 1, 1]),
        toy([1, 2, 3], [0, 1, 2], ("cat", "dog", "emu")),
        Dataset(dataset.images.transpose(2, 3), dataset.labels, CLASSES, dataset.sources),
    ]
    assert len({dataset.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_the_fingerprint_is_that_of_the_pixels_in_order_whatever_the_memory_layout() -> None:
    images = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 2, 2)
    labels = torch.tensor([0, 1])
    mapped = images.to(memory_format=torch.channels_last)
    assert not mapped.is_contiguous()
    assert (
        Dataset(mapped, labels, CLASSES, ["a", "b"]).fingerprint
        == Dataset(images, labels, CLASSES, ["a", "b"]).fingerprint
    )


def test_an_empty_dataset_is_one() -> None:
    empty = toy([1], [0]).subset(torch.empty(0, dtype=torch.int64))
    assert (len(empty), empty.counts) == (0, {"cat": 0, "dog": 0, "owl": 0})
    assert len(empty.fingerprint) == 64
    assert [len(part) for part in split(empty)] == [0, 0]


def test_splits_show_their_sizes() -> None:
    dataset = toy(list(range(1000)), [0] * 1000)
    splits = Splits(dataset, dataset.subset(torch.arange(20)), dataset.subset(torch.arange(3)))
    assert repr(splits) == "Splits(train 1,000, validation 20, test 3 pictures, 3 classes)"
    assert [name for name, _ in splits.items()] == ["train", "validation", "test"]


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_that_leaves_a_side_empty_is_refused(fraction: float) -> None:
    with pytest.raises(UsageError, match=rf"between 0 and 1, such as 0\.2; got {fraction}"):
        split(toy([1, 2], [0, 0]), fraction=fraction)


def test_the_default_split_is_eight_to_two_of_every_class() -> None:
    rest, held_out = split(toy(list(range(300)), [index % 3 for index in range(300)]))
    assert rest.counts == {"cat": 80, "dog": 80, "owl": 80}
    assert held_out.counts == {"cat": 20, "dog": 20, "owl": 20}


def test_both_sides_keep_the_order_of_the_original() -> None:
    for part in split(toy(list(range(50)), [0] * 50)):
        numbers = [int(source.removesuffix(".png")) for source in part.sources]
        assert numbers == sorted(numbers)


def test_another_seed_parts_otherwise_and_the_same_seed_the_same() -> None:
    dataset = toy(list(range(100)), [0] * 100)
    chosen = [tuple(split(dataset, seed=seed).held_out.sources) for seed in (1, 1, 2, -1)]
    assert chosen[0] == chosen[1]
    assert len(set(chosen)) == 3


def test_every_picture_is_held_out_by_about_one_seed_in_five() -> None:
    dataset = toy(list(range(50)), [0] * 50)
    times = torch.zeros(50)
    for seed in range(200):
        for source in split(dataset, seed=seed).held_out.sources:
            times[int(source.removesuffix(".png"))] += 1
    assert times.mean() == 40  # 200 seeds x 20 %
    assert 20 <= int(times.min()) <= int(times.max()) <= 62


def test_identical_pictures_stay_on_one_side() -> None:
    dataset = toy([7] * 5 + list(range(100, 145)), [0] * 50)
    for seed in range(30):  # of one seed five of a kind may stay together by chance
        rest, held_out = split(dataset, seed=seed)
        assert len(held_out) == 10
        assert not contents(rest) & contents(held_out)


def test_a_class_of_one_distinct_picture_stays_in_the_rest() -> None:
    rest, held_out = split(toy([1, 1, 1, *range(10, 20)], [0, 0, 0, *[1] * 10]))
    assert rest.counts["cat"] == 3
    assert held_out.counts["cat"] == 0


def test_many_small_classes_do_not_empty_a_large_one() -> None:
    classes = tuple(f"class {index}" for index in range(41))
    rest, held_out = split(toy(list(range(80)), [*range(40), *[40] * 40], classes))
    assert held_out.counts["class 40"] in (8, 9)
    assert len(rest) + len(held_out) == 80


def test_twins_with_two_labels_stay_on_one_side_whatever_the_order() -> None:
    pixels, labels = [5, 5, *range(20, 60)], [1, 0, *[0] * 20, *[1] * 20]
    dataset = toy(pixels, labels)
    backwards = toy(pixels[::-1], labels[::-1])
    for seed in range(20):
        rest, held_out = split(dataset, seed=seed)
        assert not contents(rest) & contents(held_out)
        assert contents(split(backwards, seed=seed).held_out) == contents(held_out)


def test_the_shares_of_the_classes_are_those_of_an_independent_splitter() -> None:
    labels = [0] * 137 + [1] * 61 + [2] * 23
    _, held_out = split(toy(list(range(len(labels))), labels), fraction=0.3)
    oracle = StratifiedShuffleSplit(1, test_size=len(held_out), random_state=0)
    _, chosen = next(oracle.split(labels, labels))
    theirs = torch.bincount(torch.tensor(labels)[torch.tensor(chosen)]).tolist()
    assert all(abs(ours - their) <= 1 for ours, their in zip(held_out.counts.values(), theirs, strict=True))


def test_content_hashes_are_blake2_of_the_pixels() -> None:
    dataset = toy([258], [0])
    assert content_hashes(dataset) == [hashlib.blake2b(b"\x01\x02", digest_size=16).digest()]
    assert content_hashes(dataset, key=b"k") != content_hashes(dataset)


pictures = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 2)), min_size=1, max_size=60
)  # few values, so that twins, also of two labels, are common
fractions = st.floats(0.01, 0.99)
seeds = st.integers(-(2**63), 2**63 - 1)
quickly = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@quickly
@given(pictures, fractions, seeds)
def test_no_content_is_ever_on_two_sides_and_none_is_lost(
    drawn: list[tuple[int, int]], fraction: float, seed: int
) -> None:
    dataset = toy([value for value, _ in drawn], [label for _, label in drawn])
    rest, held_out = split(dataset, fraction=fraction, seed=seed)
    assert not contents(rest) & contents(held_out)
    assert sorted([*rest.sources, *held_out.sources]) == sorted(dataset.sources)
    assert len(rest) > 0


@quickly
@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=80), fractions, seeds, st.randoms(use_true_random=False)
)
def test_every_class_is_parted_alike_within_one_picture(
    labels: list[int], fraction: float, seed: int, random: object
) -> None:
    values = random.sample(range(65536), len(labels))  # type: ignore[attr-defined] # distinct pictures
    dataset = toy(values, labels)
    held_out = split(dataset, fraction=fraction, seed=seed).held_out
    for name, count in dataset.counts.items():
        assert abs(held_out.counts[name] - fraction * count) <= 1 + 1e-9


@quickly
@given(pictures, fractions, seeds, st.randoms(use_true_random=False))
def test_the_split_does_not_depend_on_the_order_of_files(
    drawn: list[tuple[int, int]], fraction: float, seed: int, random: object
) -> None:
    shuffled = list(drawn)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    held_out = [
        contents(
            split(toy([v for v, _ in order], [c for _, c in order]), fraction=fraction, seed=seed).held_out
        )
        for order in (drawn, shuffled)
    ]
    assert held_out[0] == held_out[1]


def test_a_dataset_of_several_labels_counts_names_and_parts_them_by_their_sets() -> None:
    dataset = toys_of_several_labels(80)
    assert repr(dataset) == "Dataset(80 pictures, 16x16 colour, 4 labels)"
    assert dataset.multi_label
    assert dataset.counts == {
        name: sum(name in names.split("|") for names in dataset.label_names) for name in dataset.classes
    }
    example = dataset[3]
    assert isinstance(example.label, tuple)
    assert "|".join(dataset.classes[k] for k in example.label) == dataset.label_names[3]
    rest, held_out = split(dataset, fraction=0.25, seed=3)
    assert len(held_out) == 20
    assert set(held_out.label_names) <= set(rest.label_names)
    part = dataset.subset(dataset.labels[:, 0])
    assert part.counts[dataset.classes[0]] == len(part)


def test_several_labels_count_in_the_fingerprint() -> None:
    dataset = toys_of_several_labels(8)
    changed = Dataset(dataset.images, ~dataset.labels, dataset.classes, dataset.sources)
    assert changed.fingerprint != dataset.fingerprint
    with pytest.raises(UsageError, match=r"Several labels per picture are bool \(8, 4\)\."):
        Dataset(dataset.images, dataset.labels[:, :3], dataset.classes, dataset.sources)


def test_groups_stay_with_their_pictures_and_must_fit_them() -> None:
    dataset = toy([1, 2, 3, 4], [0, 1, 0, 1])
    grouped = replace(dataset, groups=["p", "", "q", "p"])
    assert list(grouped.subset([3, 1]).groups) == ["p", ""]
    assert list(grouped[2:].groups) == ["q", "p"]
    assert list(joined([dataset, grouped]).groups) == [*[""] * 4, "p", "", "q", "p"]
    assert joined([dataset, dataset]).groups == ()
    assert grouped.fingerprint == dataset.fingerprint
    with pytest.raises(UsageError, match=r"Expected 4 groups, one a picture; got 1\."):
        replace(dataset, groups=["p"])
