"""A picture's side is decided by what it shows: nothing that others do moves it."""

import random
from collections import Counter, defaultdict

import pytest

from pellucid.data import split_by_content
from pellucid.data.sources.listing import Picture, joined
from pellucid.data.split_by_content import Fractions, Hashes, assign_splits, connected
from pellucid.errors import UsageError

SHARES = Fractions(validation=0.2, seed=42)


def hashes(name: object) -> Hashes:
    """Those of a picture that no other looks like."""
    return Hashes(f"bytes {name}", f"pixels {name}", f"sketch {name}")


def saved_again(generator: random.Random, content: Hashes) -> Hashes:
    """Those of the same picture in another file."""
    return content._replace(file=generator.randbytes(8).hex())


def made(generator: random.Random) -> tuple[list[Picture], list[Hashes]]:
    """Names, labels and hashes of a random folder; one picture in ten is another's twin, bytes or pixels."""
    pictures, contents = [], []
    for label in range(generator.randint(2, 5)):
        for number in range(generator.randint(20, 60)):
            content = hashes(generator.randbytes(8).hex())
            if contents and generator.random() < 0.1:
                twin = generator.choice(contents)
                content = twin if generator.random() < 0.7 else saved_again(generator, twin)
            pictures.append(Picture(f"{label}/{number}.png", str(label)))
            contents.append(content)
    return pictures, contents


def two_sided(contents: list[Hashes], parts: list[str]) -> list[str]:
    """The hashes that are found in two parts."""
    where = defaultdict(set)
    for content, part in zip(contents, parts, strict=True):
        for name in content:
            where[name].add(part)
    return [name for name, there in where.items() if len(there) > 1]


def contents_in_test(pictures: list[Picture], contents: list[Hashes], splits: list[str], label: str) -> int:
    """How many different test pictures a class has."""
    rows = zip(pictures, contents, splits, strict=True)
    return len({content.sketch for one, content, split in rows if one.label == label and split == "test"})


@pytest.mark.parametrize("count", range(3, 14))
def test_a_class_of_three_contents_or_more_has_a_test_picture_and_two_to_learn_from(count: int) -> None:
    for seed in range(40):
        names = ["few"] * count + ["many"] * 60
        pictures = [Picture(f"{name}/{index}.png", name) for index, name in enumerate(names)]
        contents = [hashes(f"{seed} {index}") for index in range(len(names))]
        splits = assign_splits(pictures, contents, SHARES).splits
        of_few = Counter(splits[:count])
        assert of_few["test"] >= 1
        assert of_few["train"] >= 1


def test_in_a_thousand_random_folders_no_content_is_on_two_sides_and_adding_a_tenth_moves_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(split_by_content, "EXACT_BELOW", 0)  # as of folders of that many pictures
    generator = random.Random(7)
    for _ in range(1000):
        pictures, contents = made(generator)
        before = assign_splits(pictures, contents, SHARES).splits
        assert two_sided(contents, before) == []
        names = [f"{picture.label}/{generator.randbytes(4).hex()}.png" for picture in pictures]  # renamed
        later = [Picture(name, picture.label) for name, picture in zip(names, pictures, strict=True)]
        more = list(contents)
        for number in range(len(pictures) // 10):
            label = generator.choice(pictures).label
            later.append(Picture(f"{label}/new{number}.png", label))
            twin = generator.choice(contents)
            copy = twin if generator.random() < 0.5 else saved_again(generator, twin)
            more.append(copy if generator.random() < 0.5 else hashes(generator.randbytes(8).hex()))
        order = generator.sample(range(len(later)), len(later))
        after = assign_splits([later[at] for at in order], [more[at] for at in order], SHARES).splits
        place = {at: number for number, at in enumerate(order)}
        for at, picture in enumerate(pictures):
            if after[place[at]] != before[at]:
                # Some class had no other content in the test part: it was given this one, or loses it now.
                same = [
                    other for other in range(len(contents)) if contents[other].pixels == contents[at].pixels
                ]
                counts = [
                    contents_in_test(pictures, contents, before, pictures[other].label) for other in same
                ]
                assert min(counts) <= 1, picture
        assert two_sided([more[at] for at in order], after) == []


def distinct(labels: list[str], seed: int) -> tuple[list[Picture], list[Hashes]]:
    """Pictures of which no two look alike."""
    pictures = [Picture(f"{label}/{n}.png", label) for n, label in enumerate(labels)]
    return pictures, [hashes(f"{seed} {n}") for n in range(len(labels))]


@pytest.mark.parametrize(
    "sizes", [(20, 20, 20), (20,) * 10, (7, 13, 29, 101), (400, 1599), (3, 3, 3, 3), (5, 200)]
)
def test_of_few_pictures_every_class_has_the_share_asked_for_in_every_part(sizes: tuple[int, ...]) -> None:
    labels = [f"class {number}" for number, size in enumerate(sizes) for _ in range(size)]
    for seed in range(6):
        pictures, contents = distinct(labels, seed)
        splits = assign_splits(pictures, contents, Fractions(0.2, seed)).splits
        counts = {label: Counter() for label in set(labels)}  # type: ignore[var-annotated]
        for label, split in zip(labels, splits, strict=True):
            counts[label][split] += 1
        for count in counts.values():
            total = count.total()
            assert min(count[part] for part in ("train", "validation", "test")) >= 1
            assert abs(count["test"] - max(1, 0.2 * total)) <= 1
            assert abs(count["validation"] - max(1, 0.2 * (total - count["test"]))) <= 1
        if min(sizes) >= 5:
            number = len(labels)
            assert abs(splits.count("test") - 0.2 * number) <= 1
            assert abs(splits.count("validation") - 0.2 * (number - splits.count("test"))) <= 1


def test_of_few_pictures_the_share_holds_though_groups_stay_together() -> None:
    labels = ["ab"[n % 2] for n in range(300)]
    for seed in range(10):
        pictures = [Picture(f"{n}", label, group=f"{seed} {n // 5}") for n, label in enumerate(labels)]
        splits = assign_splits(pictures, [hashes(n) for n in range(300)], Fractions(0.2, seed)).splits
        where = defaultdict(set)
        for picture, split in zip(pictures, splits, strict=True):
            where[picture.group].add(split)
        assert all(len(parts) == 1 for parts in where.values())
        assert abs(splits.count("test") - 60) <= 5  # a group
        assert abs(splits.count("validation") - 48) <= 5


def test_a_picture_that_is_added_to_few_can_move_others_and_the_notes_say_so() -> None:
    labels = [f"class {n % 5}" for n in range(400)]
    pictures, contents = distinct(labels, 0)
    before = assign_splits(pictures, contents, SHARES)
    more = [Picture(f"new {n}", f"class {n % 5}") for n in range(40)]
    after = assign_splits([*pictures, *more], [*contents, *(hashes(f"new {n}") for n in range(40))], SHARES)
    moved = sum(one != other for one, other in zip(before.splits, after.splits, strict=False))
    assert 0 < moved <= 0.1 * len(pictures)
    (note,) = (str(note) for note in before.notes)
    assert "80 of 400 for test (20 % asked for), 64 of 320 for validation (20 % asked for)" in note
    assert "pictures that are added later can move some of these" in note


def test_shares_are_about_what_was_asked_for_in_every_class() -> None:
    pictures = [Picture(f"{n % 4}/{n}.png", str(n % 4)) for n in range(8000)]
    contents = [hashes(n) for n in range(8000)]
    parts = assign_splits(pictures, contents, SHARES).splits
    for label in "0123":
        mine = [part for picture, part in zip(pictures, parts, strict=True) if picture.label == label]
        assert mine.count("test") / 2000 == pytest.approx(0.2, abs=0.03)
        assert mine.count("validation") / 2000 == pytest.approx(0.16, abs=0.03)  # a fifth of the rest


def test_the_test_part_depends_on_no_seed_and_no_share() -> None:
    pictures = [Picture(f"{n % 2}/{n}.png", str(n % 2)) for n in range(500)]
    contents = [hashes(n) for n in range(500)]
    first = assign_splits(pictures, contents, Fractions(0.2, 1)).splits
    second = assign_splits(pictures, contents, Fractions(0.4, 2)).splits
    assert [part == "test" for part in first] == [part == "test" for part in second]
    assert first != second


def test_a_group_stays_on_one_side() -> None:
    pictures = [Picture(f"{n % 2}/{n}.png", str(n % 2), group=str(n // 10)) for n in range(1000)]
    contents = [hashes(n) for n in range(1000)]
    parts = assign_splits(pictures, contents, SHARES).splits
    where = defaultdict(set)
    for picture, part in zip(pictures, parts, strict=True):
        where[picture.group].add(part)
    assert all(len(there) == 1 for there in where.values())
    assert set(parts) == {"train", "validation", "test"}


def test_parts_that_the_data_give_are_respected() -> None:
    pictures = [Picture(f"{n}", "ab"[n % 2], "test" if n >= 80 else "train") for n in range(100)]
    contents = [hashes(n % 50) for n in range(100)]  # twins on both sides, as the data have it
    parts = assign_splits(pictures, contents, SHARES).splits
    assert [part == "test" for part in parts] == [n >= 80 for n in range(100)]
    assert "validation" in parts


def test_a_class_too_small_stays_in_training_and_is_named() -> None:
    for content in range(40):  # whatever its only picture draws
        pictures = [*(Picture(f"{n}", "ab"[n % 2]) for n in range(100)), Picture("c/1", "c")]
        contents = [*(hashes(n) for n in range(100)), hashes(f"only {content}")]
        told = assign_splits(pictures, contents, SHARES)
        assert told.splits[-1] == "train"
        assert any("'c'" in note for note in map(str, told.notes))


def test_very_few_pictures_still_make_three_parts() -> None:
    for start in range(50):
        pictures = [Picture(f"{n}", "ab"[n % 2]) for n in range(20)]
        contents = [hashes(f"{start} {n}") for n in range(20)]
        assert set(assign_splits(pictures, contents, SHARES).splits) == {"train", "validation", "test"}


def test_pictures_that_all_belong_together_cannot_be_parted() -> None:
    pictures = [Picture(f"{n}", "ab"[n % 2], group="all") for n in range(100)]
    with pytest.raises(UsageError, match="pictures of the same content or group stay together"):
        assign_splits(pictures, [hashes(n) for n in range(100)], SHARES)


def test_what_shares_any_key_is_joined_however_far_apart() -> None:
    assert connected([("a", "1"), ("b", "2"), ("b", "1"), ("c", ""), ("d", "")]) == [0, 0, 0, 3, 4]


def test_an_earlier_split_stands_and_new_pictures_join_their_twins() -> None:
    pictures = [Picture(f"{n}", "ab"[n % 2]) for n in range(60)]
    contents = [hashes(n) for n in range(59)] + [Hashes("saved again", *hashes(0)[1:])]
    fixed = ["test"] * 20 + ["validation"] * 20 + ["train"] * 19 + [""]
    assert assign_splits(pictures, contents, SHARES, fixed=fixed).splits == [*fixed[:-1], "test"]


def test_pictures_that_are_equal_only_at_the_networks_size_go_where_the_least_of_their_sketches_does() -> (
    None
):
    pictures = [Picture(f"{n}", "ab"[n % 2]) for n in range(400)]
    contents = [hashes(n) for n in range(400)]
    alone = assign_splits(pictures, contents, SHARES).splits
    for n in range(0, 400, 2):  # 0 with 1, 2 with 3, ...
        contents[n + 1] = contents[n + 1]._replace(pixels=contents[n].pixels)
    together = assign_splits(pictures, contents, SHARES).splits
    for n in range(0, 400, 2):
        least = min(n, n + 1, key=lambda at: contents[at].sketch)
        assert together[n] == together[n + 1] == alone[least]
    assert together != alone


def test_pictures_that_share_a_sketch_alone_are_drawn_alike_and_not_held_together() -> None:
    pictures = [Picture(f"{n}", "ab"[n % 2]) for n in range(200)]
    contents = [hashes(n)._replace(sketch=f"sketch {n % 100}") for n in range(200)]
    parts = assign_splits(pictures, contents, SHARES).splits
    assert parts[:100] == parts[100:]
    fixed = ["train"] * 100 + [""] * 100
    assert "test" in assign_splits(pictures, contents, SHARES, fixed=fixed).splits[100:]


def test_of_very_few_that_share_a_sketch_all_are_held_out_together() -> None:
    for start in range(50):
        pictures = [Picture(f"{n}", "ab"[n % 2]) for n in range(40)]
        contents = [hashes(f"{start} {n}")._replace(sketch=f"{start} {n % 20}") for n in range(40)]
        parts = assign_splits(pictures, contents, SHARES).splits
        assert set(parts) == {"train", "validation", "test"}
        assert parts[:20] == parts[20:]


@pytest.mark.parametrize("seed", range(20))
def test_every_label_of_three_pictures_is_in_every_part_though_pictures_have_several(seed: int) -> None:
    generator = random.Random(seed)
    chances = {f"label {k}": generator.uniform(0.02, 0.5) for k in range(12)}
    sets = [[name for name, chance in chances.items() if generator.random() < chance] for _ in range(60)]
    pictures = [Picture(f"{n}.png", joined(labels)) for n, labels in enumerate(sets)]
    contents = [hashes(f"{seed}-{n}") for n in range(60)]
    found = assign_splits(pictures, contents, Fractions(0.2, seed)).splits
    assert found == assign_splits(pictures, contents, Fractions(0.2, seed)).splits
    for name in chances:
        parts = [part for part, labels in zip(found, sets, strict=True) if name in labels]
        assert len(parts) < 3 or set(parts) == {"train", "validation", "test"}, (name, parts)
