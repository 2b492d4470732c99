"""`explain` on the command line: what was asked is written, and what cannot be done is said."""

import json
from pathlib import Path

import pytest

from tests.asking import Ran


def test_one_page_holds_several_pictures_with_all_that_was_asked(place: Path, ran: Ran) -> None:
    words = ("one", "0.png", "1.png", "--change", "--neighbours", "3", "--out", "both.html")
    done = ran("explain", *words)
    assert done.returncode == 0, done.stderr
    made = (place / "both.html").read_text()
    assert made.count('<section class="part">') == 2
    assert made.count("What would change it") == 2
    assert made.count('alt="Training picture of') == 6
    assert "default-src 'none'" in made
    assert "<script" not in made
    for words_ in (
        "0.png: answers",
        "Evidence by gradient x activation",
        "pixels changed",
        "Written: both.html",
    ):
        assert words_ in done.stdout


def test_a_format_is_known_by_its_name_or_by_the_end_of_the_file(place: Path, ran: Ran) -> None:
    done = ran("explain", "one", "0.png", "1.png", "--format", "json", "--method", "occlusion")
    assert done.returncode == 0, done.stderr
    told = json.loads((place / "explained.json").read_text())
    assert [one["source"] for one in told] == ["0.png", "1.png"]
    assert all(len(one["evidence"]["occlusion"]) == 8 for one in told)
    ran("explain", "one", "0.png", "--change")
    assert (place / "0-explained.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["0.png", "1.png", "--out", "x.png"], "names one PNG, but 2 pictures were given"),
        (["0.png", "--out", "0.png"], "is the picture itself"),
        (["0.png", "--format", "pdf"], "Unknown format 'pdf'"),
        (["0.png", "--layer", "conv9"], "Its layers: conv1, pool1, conv2"),
        (["0.png", "--method", "saliency"], "Unknown method 'saliency'"),
        (["none.png"], "none.png"),
    ],
)
def test_what_cannot_be_done_is_said_with_exit_2(ran: Ran, words: list[str], message: str) -> None:
    done = ran("explain", "one", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_one_bad_picture_does_not_keep_the_others_from_being_explained(place: Path, ran: Ran) -> None:
    (place / "bad.png").write_bytes(b"no picture")
    done = ran("explain", "one", "bad.png", "0.png", "--json", "--out", "x.html")
    assert done.returncode == 2
    assert "bad.png" in done.stderr
    assert json.loads(done.stdout)["source"] == "0.png"


def test_a_contrast_is_between_the_two_classes_named(ran: Ran) -> None:
    words = ("--target", "4", "--against", "9", "--json", "--out", "x.html")
    told = json.loads(ran("explain", "one", "0.png", *words).stdout)
    assert (told["target"], told["against"]) == ("4", "9")
    assert "difference of the scores" in told["captions"]["gradient x activation"]
