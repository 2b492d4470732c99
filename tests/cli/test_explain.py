"""`explain` on the command line: what was asked is written, and what cannot be done is said."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from pellucid.data.dataset import Splits
from pellucid.explanation.counterfactual import counterfactuals
from pellucid.explanation.explanation import explain
from pellucid.explanation.neighbours import index_sample, nearest
from pellucid.runs.run import Run
from tests.asking import Done, Ran


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
        (["0.png", "--out", "0.png"], "is one of the files to read"),
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


def test_what_is_printed_is_what_the_library_finds(place: Path, ran: Ran, digits: Splits) -> None:
    words = ("--method", "occlusion", "--neighbours", "2", "--change", "--json", "--out", "x.json")
    told = json.loads(ran("explain", "one", "0.png", *words).stdout)
    run = Run.open(place / "one")
    found = explain(run.classifier, digits.test.images[0], methods=["occlusion"])
    classes = run.classifier.classes
    probabilities = run.classifier.predict(digits.test.images[:1])[0]
    assert told["source"] == "0.png"
    assert told["path"] == "x.json"
    assert list(told["probabilities"].values()) == pytest.approx(probabilities.tolist())
    assert torch.allclose(torch.tensor(told["evidence"]["occlusion"]), found.heatmaps["occlusion"], atol=1e-5)
    splits = run.splits()
    (near,) = nearest(
        index_sample(run.classifier, splits.train, splits.validation), digits.test.images[:1], 2
    )
    assert [one["source"] for one in told["neighbours"]] == [one.source for one in near]
    wanted = counterfactuals(run.classifier, digits.test.images[0])
    amounts = {classes[way.target]: way.amount for way in wanted}
    assert {one["prediction"]: one["amount"] for one in told["changes"]} == pytest.approx(amounts)
    (written,) = json.loads((place / "x.json").read_text())
    assert written == {name: value for name, value in told.items() if name != "path"}


def test_every_picture_gets_a_png_of_its_own(place: Path, ran: Ran) -> None:
    done = ran("explain", "one", "0.png", "1.png", "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["path"] for row in rows] == ["0-explained.png", "1-explained.png"]
    for row in rows:
        assert (place / row["path"]).read_bytes().startswith(b"\x89PNG")


def test_maps_carry_the_verdict_of_the_run_s_report(place: Path, ran: Ran) -> None:
    untested = ran("explain", "one", "0.png", "--out", "x.html").stdout
    assert "Not tested on this network: run 'pellucid report'." in untested
    weights = json.loads((place / "one" / "model.json").read_text())["sha256"]
    failed = {"outcome": "failed", "insertion": 0.4, "deletion": 0.5, "leads": {}, "pictures": 8}
    failed |= {"rank_correlation": 0.1, "class_correlation": 0.1, "sign_correlation": 1.0}
    verdicts = {
        "weights": weights, "pictures": 8, "checked": 8, "accuracy": 0.9, "chance": 0.1,
        "methods": {"gradient x activation": failed},
    }  # fmt: skip
    (place / "one" / "faithfulness.json").write_text(json.dumps(verdicts))
    try:
        tested = ran("explain", "one", "0.png", "--out", "x.html").stdout
        page = (place / "x.html").read_text()
        row = json.loads(ran("explain", "one", "0.png", "--out", "x.png", "--json").stdout)
        wanted = ran("explain", "one", "0.png", "--method", "gradient x activation", "--out", "x.html").stdout
    finally:
        (place / "one" / "faithfulness.json").unlink()
    said = "No map is shown: no kind of map passed its tests on this network."
    assert said in tested
    assert "Evidence by" not in tested
    assert said in page
    assert (row["without_map"], row["evidence"]) == (said, {})
    assert "Evidence by gradient x activation" in wanted
    assert "Not to be believed: no kind of map passed its tests on this network." in wanted
    assert said not in wanted


def test_a_page_is_written_in_the_language_that_is_asked_for(place: Path, ran: Ran) -> None:
    assert ran("explain", "one", "0.png", "--out", "ko.html", "--lang", "ko", "--quiet") == Done(0, "", "")
    assert '<html lang="ko"' in (place / "ko.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["0.png", "--neighbours", "-1"], "Expected --neighbours of at least 0; got -1."),
        (["0.png", "--target", "11"], "'11'"),
        (["-"], "'-' is not read: pellucid takes files, not a stream"),
        (["https://example.org/1.png"], "'https://example.org/1.png' is an address. Download it first"),
        (["0.png", "--lang", "fr"], "Unknown language 'fr'"),
        (["0.png", "--out", "x.gif"], "Unknown format 'gif'"),
        (["0.png", "--format", "htm"], "Did you mean 'html'?"),
        (["0.png", "--fit", "squeeze"], "Unknown fit 'squeeze'"),
    ],
)
def test_bad_words_are_refused_before_anything_is_written(
    place: Path, ran: Ran, words: list[str], message: str
) -> None:
    before = sorted(place.iterdir())
    done = ran("explain", "one", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert sorted(place.iterdir()) == before


def test_two_pictures_of_one_name_are_not_written_over_each_other(
    place: Path, ran: Ran, tmp_path: Path
) -> None:
    other = Path(shutil.copy(place / "1.png", tmp_path / "0.png"))
    done = ran("explain", "one", "0.png", str(other))
    assert done.returncode == 2
    assert "Two of these pictures have the same name. Write one page: --out explained.html." in done.stderr
    assert ran("explain", "one", "0.png", str(other), "--out", "x.html").returncode == 0


def test_a_folder_that_is_no_run_is_refused(ran: Ran, tmp_path: Path) -> None:
    done = ran("explain", str(tmp_path), "0.png")
    assert (done.returncode, "holds no model.json" in done.stderr) == (2, True)
