"""Your own pictures, from the folder to the three parts: every one counted, and nobody's file touched."""

import io
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid import load
from pellucid.data import load_again, split_by_content
from pellucid.data.audit.findings import audit
from pellucid.data.dataset import Choices, Origin, content_hashes
from pellucid.data.own import OwnPictures, chosen_size, read_own
from pellucid.data.preprocess import Preprocess
from pellucid.errors import UsageError
from pellucid.runs.fit import fit
from pellucid.runs.tables import SPLIT
from tests.data.folders import picture, planted, shapes, state
from tests.toys import QUICK, rows_of


def parts(reading: OwnPictures) -> dict[str, str]:
    return {source: name for name, part in reading.splits.items() for source in part.sources}


def test_a_folder_becomes_three_parts_of_one_size_that_share_no_picture(tmp_path: Path) -> None:
    folder = shapes(tmp_path / "pictures", count=40)
    planted(folder, {"bright/twin.png": (folder / "dark" / "001.png").read_bytes()})
    reading = read_own(folder)
    hashes = [set(content_hashes(part)) for _, part in reading.splits.items()]
    assert sum(map(len, hashes)) == len(set().union(*hashes)) == 80
    assert all(len(part) for _, part in reading.splits.items())
    assert reading.splits.origin.preprocess == Preprocess(3, 16, 16)
    assert reading.splits.train.classes == ("bright", "dark")
    assert any(
        note.startswith("held out of training by content") for note in map(str, reading.splits.origin.notes)
    )


def test_what_is_unreadable_is_named_and_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    folder = shapes(tmp_path / "pictures")
    cut = (folder / "dark" / "000.png").read_bytes()[:-40]
    planted(folder, {"dark/cut.png": cut, "dark/empty.png": b"", "bright/text.jpg": b"not a picture"})
    reading = read_own(folder)
    facts = reading.splits.origin.to_json()
    assert {one["source"] for one in facts["unreadable"]} == {
        "dark/cut.png",
        "dark/empty.png",
        "bright/text.jpg",
    }
    assert facts["found"] == facts["read"] + len(facts["unreadable"]) == 63
    assert facts["read"] == sum(len(part) for _, part in reading.splits.items())
    assert any(
        "3 pictures are unreadable and passed over: 'bright/text.jpg'" in note
        for note in map(str, reading.splits.origin.notes)
    )
    with pytest.raises(UsageError, match=r"bright/text\.jpg"):
        read_own(folder, Choices(on_unreadable="stop"))


def test_a_class_of_which_nothing_can_be_read_is_refused(tmp_path: Path) -> None:
    folder = planted(shapes(tmp_path / "pictures", count=5), {"owl/1.png": b"", "owl/2.png": b""})
    with pytest.raises(UsageError, match="Not one picture of 'owl' can be read"):
        read_own(folder)
    with pytest.raises(UsageError, match="None of the 2 pictures can be read"):
        read_own(planted(tmp_path / "none", {"a/1.png": b"", "b/1.png": b""}))


def test_adding_pictures_and_renaming_moves_none(tmp_path: Path) -> None:
    folder = shapes(tmp_path / "pictures")
    before = parts(read_own(folder))
    for path in sorted((folder / "dark").iterdir())[:10]:
        path.rename(path.with_name(f"renamed {path.name}"))
    planted(folder, {f"bright/new{n}.png": picture(n) for n in range(6)})
    after = parts(read_own(folder))
    now = {source: after.get(source) or after[source.replace("/", "/renamed ")] for source in before}
    assert now == before
    assert len(after) == len(before) + 6


def saved_again(content: bytes, generator: random.Random) -> bytes:
    """The same picture in another file: of another format, gray as colour, lying on its side."""
    image = Image.open(io.BytesIO(content))
    image.load()
    if image.mode == "L" and generator.random() < 0.7:
        image = image.convert("RGB")
    if generator.random() < 0.3:
        image = image.convert("RGBA")
    file, exif = io.BytesIO(), Image.Exif()
    if generator.random() < 0.4:
        exif[0x0112] = 6
        image = image.transpose(Image.Transpose.ROTATE_90)
    kind = generator.choice(["PNG", "TIFF", "WEBP"])
    how = {"PNG": {"compress_level": generator.randint(0, 9)}, "TIFF": {}, "WEBP": {"lossless": True}}[kind]
    image.save(file, kind, exif=exif, **how)
    return file.getvalue()


def photo(generator: random.Random) -> bytes:
    """A picture no other is like: JPEG or PNG, gray or colour, smaller and larger than a sketch."""
    size = (generator.randint(12, 90), generator.randint(12, 90))
    grains = Image.frombytes("RGB", (6, 6), generator.randbytes(108)).resize(size, Image.Resampling.BICUBIC)
    file = io.BytesIO()
    grains.convert(generator.choice(["L", "RGB"])).save(file, generator.choice(["JPEG", "PNG"]))
    return file.getvalue()


def test_pictures_saved_again_and_new_ones_move_none_and_the_size_is_no_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split_by_content, "EXACT_BELOW", 0)  # as of folders of that many pictures
    generator = random.Random(11)
    for number in range(6):
        folder = planted(tmp_path / str(number), {f"{n % 2}/{n}.png": photo(generator) for n in range(120)})
        before = parts(read_own(folder, Choices(size=32)))
        twins = {}
        for old in generator.sample(sorted(before), 30):
            name = f"{old[0]}/{generator.randbytes(4).hex()}.png"
            twins[name] = old
            planted(folder, {name: saved_again((folder / old).read_bytes(), generator)})
        planted(folder, {f"{n % 2}/new{n}.png": photo(generator) for n in range(12)})
        after = parts(read_own(folder, Choices(size=32)))
        assert before.items() <= after.items()
        assert len(after) == 162
        assert [after[twin] for twin in twins] == [before[old] for old in twins.values()]
        assert parts(read_own(folder, Choices(size=64))) == after


def test_arrays_are_parted_as_files_of_the_same_pixels_are(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (80, 40, 44, 3), np.uint8)
    labels = ["ab"[n % 2] for n in range(80)]
    files = {}
    for n, label in enumerate(labels):
        file = io.BytesIO()
        Image.fromarray(pixels[n]).save(file, "PNG")
        files[f"{label}/{n}.png"] = file.getvalue()
    of_files = parts(read_own(planted(tmp_path / "files", files)))
    of_arrays = parts(read_own((pixels, np.array(labels))))
    assert {name.split("/")[1].removesuffix(".png"): part for name, part in of_files.items()} == {
        name.split("/")[1]: part for name, part in of_arrays.items()
    }


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({(28, 28): 10}, (28, 28)),
        ({(40, 30): 10}, (30, 40)),
        ({(4000, 3000): 10}, (224, 224)),
        ({(100, 80): 10, (90, 70): 11}, (64, 64)),
        ({(33, 200): 5, (500, 400): 4}, (32, 32)),
        ({(20, 21): 5, (22, 20): 4}, (20, 20)),
        ({(3, 2): 5, (2, 2): 4}, (8, 8)),
    ],
)
def test_the_size_is_that_of_the_pictures_or_one_most_can_fill(
    sizes: dict[tuple[int, int], int], expected: tuple[int, int]
) -> None:
    assert chosen_size(sizes) == expected


def test_pictures_of_many_sizes_and_kinds_are_read_alike(tmp_path: Path) -> None:
    files = {}
    for number in range(40):
        size, mode = ((50, 40), "L") if number % 3 else ((90, 70), "RGB")
        files[f"{'ab'[number % 2]}/{number}.png"] = picture(number, size=size, mode=mode)
    folder = planted(tmp_path / "pictures", files)
    reading = read_own(folder)
    assert reading.splits.origin.preprocess == Preprocess(3, 32, 32, "stretch")
    assert reading.splits.train.images.shape[1:] == (3, 32, 32)
    assert any(
        "pictures of 50x40 to 90x70 are read as 32x32, colour" in note
        for note in map(str, reading.splits.origin.notes)
    )
    gray = planted(
        tmp_path / "gray", {name: content for name, content in files.items() if int(name[2:-4]) % 3}
    )
    assert read_own(gray).splits.origin.preprocess == Preprocess(1, 40, 50)
    assert read_own(gray, Choices(size=24)).splits.origin.preprocess == Preprocess(1, 24, 24, "stretch")
    one = reading.splits.test.sources[0]
    assert torch.equal(reading.splits.origin.preprocess.read(folder / one), reading.splits.test.images[0])


def test_settings_that_are_none_are_refused(tmp_path: Path) -> None:
    folder = shapes(tmp_path / "pictures", count=4)
    with pytest.raises(UsageError, match="Expected size from 8 to 1,024 pixels"):
        read_own(folder, Choices(size=4))
    with pytest.raises(UsageError, match="as skip or stop; got 'ask'"):
        read_own(folder, Choices(on_unreadable="ask"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="validation share between 0 and 1"):
        read_own(folder, Choices(validation=1.0))


def test_a_run_writes_its_split_and_the_split_replays_it(tmp_path: Path) -> None:
    folder = shapes(tmp_path / "pictures")
    reading = read_own(folder, Choices(seed=3))
    run = fit(reading.splits.train, reading.splits.validation, QUICK, folder=tmp_path / "run")
    run.evaluate(reading.splits.test)
    table = run.folder / SPLIT
    replayed = read_own(folder, Choices(seed=99, validation=0.5, split_file=str(table)))
    assert parts(replayed) == parts(reading)
    assert any("by pixels: 60 pictures" in note for note in map(str, replayed.splits.origin.notes))
    assert parts(read_own(folder, Choices(seed=99, size=32, split_file=str(table)))) == parts(
        reading
    )  # by names
    planted(
        folder, {"bright/twin.png": (folder / "bright" / "000.png").read_bytes(), "dark/new.png": picture(9)}
    )
    more = parts(read_own(folder, Choices(seed=99, split_file=str(table))))
    assert parts(reading).items() <= more.items()
    assert more["bright/twin.png"] == more["bright/000.png"]


def test_a_split_of_other_data_or_of_changed_pictures_is_refused(tmp_path: Path) -> None:
    folder = shapes(tmp_path / "pictures")
    reading = read_own(folder)
    run = fit(reading.splits.train, reading.splits.validation, QUICK, folder=tmp_path / "run")
    changed = rows_of(run.folder / SPLIT)[0]["source"]
    planted(folder, {changed: picture(5)})
    with pytest.raises(UsageError, match=f"other pictures under the names '{changed}'"):
        read_own(folder, Choices(split_file=str(run.folder / SPLIT)))
    other = planted(
        tmp_path / "other", {f"{label}/x{n}.png": picture(ord(label) + n) for label in "ab" for n in range(9)}
    )
    with pytest.raises(UsageError, match="knows none of these pictures"):
        read_own(other, Choices(split_file=str(run.folder / SPLIT)))
    (tmp_path / "t.csv").write_text("name,side\n1,train\n")
    with pytest.raises(UsageError, match="has no column 'source', 'split'"):
        read_own(folder, Choices(split_file=str(tmp_path / "t.csv")))
    with pytest.raises(UsageError, match="is not a file"):
        read_own(folder, Choices(split_file=str(tmp_path / "none.csv")))


def test_the_groups_asked_for_travel_with_the_pictures(tmp_path: Path) -> None:
    folder = shapes(tmp_path / "pictures")
    assert read_own(folder).splits.test.groups == ()
    splits = read_own(folder, Choices(group_by="/(\\d\\d\\d)")).splits
    for _, part in splits.items():
        assert list(part.groups) == [re.search(r"/(\d\d\d)", source)[1] for source in part.sources]  # type: ignore[index]


def test_what_a_table_says_of_its_pictures_is_known_by_source(tmp_path: Path) -> None:
    folder = shapes(tmp_path / "pictures")
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    rows = ["file,label,camera,age,note,dark"]
    for number, file in enumerate(files):
        label = file.split("/")[0]
        rows.append(f"{file},{label},{'AB'[number % 2]},{20 + number},note {number},{int(label == 'dark')}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    origin = read_own(folder / "labels.csv").splits.origin
    assert set(origin.columns) >= {"camera", "age"}
    assert set(origin.columns) & {"file", "label"} == set()
    assert origin.columns["camera"] == {file: "AB"[number % 2] for number, file in enumerate(files)}
    assert origin.columns["age"][files[3]] == "23"
    assert "columns" not in origin.to_json()


def test_reading_leaves_no_trace_in_the_folder(tmp_path: Path) -> None:
    folder = planted(
        shapes(tmp_path / "pictures"), {"dark/cut.png": b"", ".hidden/1.png": b"", "empty/": b""}
    )
    before = state(tmp_path)
    read_own(folder)
    read_own(folder, Choices(size=24, group_by="/(\\d\\d\\d)"))
    assert state(tmp_path) == before


# --- other proportions, other shapes, further frames


def wide_and_tall(folder: Path, *, ground: int = 20, count: int = 40) -> Path:
    """Pictures of one shade with a mark in the middle, two to five times as long as high or wide."""
    files = {}
    for number in range(count):
        long, label = 50 + number % 60, "ab"[number % 2]
        width, height = (long, 22) if number % 3 else (22, long)
        pixels = np.full((height, width, 3), ground, np.uint8)
        pixels[height // 2 - 3 : height // 2 + 3, width // 2 - 3 : width // 2 + 3] = [
            [90, 160][number % 2],
            9,
            number,
        ]
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        files[f"{label}/{number:02}.png"] = file.getvalue()
    return planted(folder, files)


def notes_of(reading: OwnPictures) -> str:
    return "\n".join(map(str, reading.splits.origin.notes))


@pytest.mark.parametrize(
    ("ground", "background", "name"), [(20, 0, "black"), (240, 255, "white"), (120, 128, "gray")]
)
def test_padded_pictures_stand_on_the_ground_that_their_edges_have(
    tmp_path: Path, ground: int, background: int, name: str
) -> None:
    folder = wide_and_tall(tmp_path / "pictures", ground=ground)
    reading = read_own(folder, Choices(fit="pad"))
    preprocess = reading.splits.origin.preprocess
    assert preprocess == Preprocess(3, 64, 64, "pad", background)  # the longer sides decide how large
    assert "the whole picture, " in notes_of(reading)
    assert f"{name} around it" in notes_of(reading)
    for source, image in zip(reading.splits.test.sources, reading.splits.test.images, strict=True):
        assert torch.equal(image, preprocess.read(folder / source))
        assert int(image[0, 0, 0]) == background or int(image[0, 0, -1]) == background


def test_how_pictures_are_made_to_fit_is_said_and_keeps_its_own_store(tmp_path: Path) -> None:
    folder, cache = wide_and_tall(tmp_path / "pictures"), tmp_path / "cache"
    usual = read_own(folder, cache=cache)
    assert usual.splits.origin.preprocess == Preprocess(3, 22, 22, "stretch")
    assert "read as 22x22, colour: the whole picture, stretched to fit" in notes_of(usual)
    cropped = read_own(folder, Choices(fit="crop"), cache=cache)
    assert cropped.splits.origin.preprocess == Preprocess(3, 22, 22, "crop")
    assert "read as 22x22, colour: the middle, with the rest cut off" in notes_of(cropped)
    assert not torch.equal(usual.packed.images[:], cropped.packed.images[:])
    assert torch.equal(read_own(folder, cache=cache).packed.images[:], usual.packed.images[:])
    assert parts(usual) == parts(cropped)  # what a network receives does not decide the split


def test_pictures_of_one_shape_stay_as_they_are_unless_a_square_is_asked_for(tmp_path: Path) -> None:
    files = {f"{'ab'[n % 2]}/{n}.png": picture(n, size=(40, 30)) for n in range(30)}
    folder = planted(tmp_path / "pictures", files)
    assert read_own(folder).splits.origin.preprocess == Preprocess(3, 30, 40)
    assert read_own(folder, Choices(fit="crop")).splits.origin.preprocess == Preprocess(3, 30, 30, "crop")
    padded = read_own(folder, Choices(fit="pad")).splits.origin.preprocess
    assert (padded.height, padded.width, padded.fit) == (32, 32, "pad")


def test_height_and_width_are_taken_as_given_and_written_into_the_run(tmp_path: Path) -> None:
    folder = wide_and_tall(tmp_path / "pictures")
    splits = load(folder, size=(16, 40), fit="pad")
    assert splits.train.size == (16, 40)
    assert "read as 40 wide and 16 high, colour" in "\n".join(map(str, splits.origin.notes))
    run = fit(splits, QUICK, folder=tmp_path / "run")
    assert (run.recipe.size, run.recipe.fit) == ((16, 40), "pad")
    again = run.splits()
    assert torch.equal(again.test.images[:], splits.test.images[:])
    replayed = load_again(Origin.from_json(splits.origin.to_json()))
    assert replayed.origin.choices == splits.origin.choices
    assert torch.equal(replayed.train.images[:], splits.train.images[:])


def test_files_of_several_frames_are_named(tmp_path: Path) -> None:
    folder = shapes(tmp_path / "pictures")
    file = io.BytesIO()
    images = [Image.open(io.BytesIO(picture(number))) for number in range(3)]
    images[0].save(file, "GIF", save_all=True, append_images=images[1:])
    planted(folder, {"dark/moving.gif": file.getvalue()})
    reading = read_own(folder, cache=tmp_path / "cache")
    assert "1 file has several frames or pages, of which the first is read: 'dark/moving.gif'" in notes_of(
        reading
    )
    again = read_own(folder, cache=tmp_path / "cache")  # from what was kept of the headers
    assert again.splits.origin.headers == reading.splits.origin.headers
    (finding,) = audit(again.splits).of("frames")
    assert (finding.severity, finding.named[0][0]) == ("note", "dark/moving.gif")
    held = next(part for _, part in again.splits.items() if "dark/moving.gif" in part.sources)
    image = held.images[list(held.sources).index("dark/moving.gif")]
    assert torch.equal(image, reading.splits.origin.preprocess.read(folder / "dark" / "moving.gif"))
