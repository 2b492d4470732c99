"""No page in Korean leaves a word of English to a person who reads none, whatever it has to tell.

Each page is made with everything that library code words for it: findings, notes, captions, caveats, reasons,
verdicts, errors. What is left are names: of classes and files, which are Hangul here, of layers, of methods
in the literature; and what others have said, which is quoted.
"""

import copy
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from pellucid.comparison import compare
from pellucid.data.audit.findings import audit
from pellucid.data.dataset import Choices, Dataset, Origin, Splits
from pellucid.data.own import OwnPictures, read_own
from pellucid.evaluation.evaluation import Evaluation
from pellucid.explanation.attribution import EXPLAINERS
from pellucid.explanation.counterfactual import Edit, counterfactuals
from pellucid.explanation.explanation import GONE_NOTE, ONE_UNIT_NOTE, OUTPUT_NOTES, explain
from pellucid.explanation.neighbours import index_sample
from pellucid.explanation.outcomes import Outcome
from pellucid.language import lazy_gettext, use_language
from pellucid.machine import processor
from pellucid.report import layers, report, templates
from pellucid.report.check_page import Subject, render
from pellucid.report.compare_page import page as compare_page
from pellucid.report.context import ReportContext
from pellucid.report.explain_page import Explained, neighbours_of
from pellucid.report.explain_page import page as explained_page
from pellucid.runs.fit import fit
from pellucid.runs.run import Run
from pellucid.runs.verdicts import Verdict
from pellucid.training.augment import AUGMENTATIONS
from tests.data.folders import picture, planted
from tests.pages import KOREAN, NAMES, Text
from tests.photographs import faulty
from tests.toys import QUICK, economical, toy_splits

ANIMALS = ("고양이", "강아지", "병아리", "물고기")
SHAPES = ("막대", "상자", "십자", "기둥")
LAYERS = {"conv1", "conv2", "dense1", "dense2", "pool1", "pool2", "weight", "dropout", "tutorial"}
NO_WORDS = re.compile(  # what is quoted, names, flags, files, sizes, numbers, references, places for values
    r"“[^”]*”|(?<!\w)'[^']*'(?![a-zA-Z])|--[a-z-]+|\S*\.(png|jpg|csv|txt|json)|\d+x\d+|\de[+-]\d+|arXiv:[\d.]+|"
    r"%\(\w+\)s|\{\w+\}|\d[\d:T-]+Z"
)
PROCESSOR = set(re.findall(r"[A-Za-z][A-Za-z0-9'_-]+", processor()))
NOTES = (  # all that `explain` may note of a network
    *OUTPUT_NOTES.values(),
    GONE_NOTE,
    ONE_UNIT_NOTE,
    lazy_gettext(
        "The picture is shown from its lowest to its highest value: the network takes values beyond 0 to 1."
    ),
    lazy_gettext(
        "The output of %(layer)s is %(tokens)s tokens, read as a grid of %(height)s x %(width)s; special "
        "tokens left out, such as the class token: %(extra)s.",
        layer="conv1", tokens=17, height=4, width=4, extra=1,
    ),
    lazy_gettext(
        "The output of %(layer)s is %(tokens)s tokens, read as a grid of %(height)s x %(width)s.",
        layer="conv1", tokens=16, height=4, width=4,
    ),
)  # fmt: skip


def english_in(page: str, *known: str) -> list[str]:
    """The words of English a person reads or hears on a page, but for what is known or quoted."""
    texts = (NO_WORDS.sub(" ", text) for text in Text(page).texts)
    words = (word for text in texts for word in re.findall(r"[A-Za-z][A-Za-z0-9'_-]+", text))
    return [word for word in words if word not in NAMES | LAYERS | PROCESSOR | set(known)]


def broken_particles(page: str) -> list[str]:
    """Places where a particle was left to choose, or was chosen against the sound before it."""
    text = " ".join(Text(page).texts)
    chosen_wrongly = (
        r"(?:고양이|강아지|병아리|물고기|막대|상자|십자)(?:을|은|과)(?=\s)|기둥(?:를|는|와)(?=\s)"
    )
    return re.findall(rf"\{{[가-힣]+/[가-힣]+\}}|{chosen_wrongly}", text)


@pytest.fixture(scope="module", autouse=True)
def cheaply() -> Iterator[None]:
    with economical():
        yield


def named(splits: Splits, classes: tuple[str, ...] = SHAPES) -> Splits:
    """The same pictures under Hangul names."""
    parts = (
        Dataset(
            part.images,
            part.labels,
            classes,
            [f"{classes[n % len(classes)]}/{n}.png" for n in range(len(part))],
        )
        for _, part in splits.items()
    )
    return Splits(*parts)


@pytest.fixture(scope="module")
def splits() -> Splits:
    return named(toy_splits())


@pytest.fixture(scope="module")
def run(splits: Splits, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run") / "한글"
    return fit(
        splits.train, splits.validation, replace(QUICK, epochs=4), folder=folder, origin=Origin("장난감")
    )


def test_a_check_with_every_kind_of_finding_is_all_korean() -> None:
    found, splits = faulty(ANIMALS)
    page = render(Subject(found, splits, "동물", "ko"))
    assert english_in(page, *(finding.kind for finding in found.findings)) == []
    assert broken_particles(page) == []
    assert '<html lang="ko">' in page
    text = " ".join(Text(page).texts)
    assert all(name in text for name in ANIMALS)
    for finding in found.findings:
        assert KOREAN[finding.message.sentence].partition("%")[0] in text
        assert finding.sentence not in text  # in English, as JSON and the terminal have it
    assert str(found.looked).startswith("All 285 pictures were compared")


def test_a_check_without_a_finding_is_all_korean() -> None:
    sound = named(toy_splits(400))
    page = render(Subject(audit(sound), sound, language="ko"))
    assert english_in(page) == []


def messy(folder: Path) -> Path:
    """A person's folder with everything at once that a note is written of."""
    names = [f"{part}/{name}" for part in ("train", "test") for name in ("밝음", "어둠")]
    files = {f"{name}/{n:03}.png": picture(100 * k + n) for k, name in enumerate(names) for n in range(12)}
    files["train/어둠/큰것.png"] = picture(999, size=(40, 30))
    mess = {
        "홀로.png": b"",
        "읽어라.txt": b"x",
        "확장자없음": b"x",
        ".숨음/1.png": b"",
        "train/빈폴더/": b"",
        "train/.숨음.png": b"",
        "train/어둠/잘림.png": files["train/어둠/000.png"][:-50],
        **{f"train/어둠/글{n}.png": b"no picture" for n in range(3)},
    }
    return planted(folder, files | mess)


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> OwnPictures:
    folder = tmp_path_factory.mktemp("pictures")
    return read_own(messy(folder / "그림"), Choices(group_by="(00\\d)\\.png"), cache=folder / "cache")


def test_what_was_understood_of_ones_own_pictures_is_korean_on_the_check_page(reading: OwnPictures) -> None:
    page = render(Subject(audit(reading.splits), reading.splits, "그림", "ko"))
    kinds = {
        "small-class",
        "unreadable",
        "near-leak",
        "near-duplicate",
        "burst",
        "leak",
        "duplicate",
        "RGB",
        "train",
        "test",
    }
    assert english_in(page, *kinds) == []
    assert len(reading.splits.origin.notes) >= 7
    assert all(KOREAN[note.sentence] for note in reading.splits.origin.notes)
    assert all(str(note) not in page for note in reading.splits.origin.notes)


def test_what_was_understood_is_korean_in_the_report_of_a_run(
    reading: OwnPictures, run: Run, splits: Splits
) -> None:
    written = json.loads(json.dumps(replace(reading.splits.origin, name="그림").to_json()))
    kept = replace(run, origin=Origin.from_json(written))
    page = section(ReportContext(kept, splits, kept.evaluate(splits.test), "ko"), "data")
    assert english_in(page, "train", "test") == []
    assert KOREAN["This part could not be made:"] not in page


def section(context: ReportContext, key: str) -> str:
    """One section of a report."""
    entry = next(entry for entry in report.SECTIONS if entry[0] == key)
    with use_language(context.language):
        made = report.render_section(templates.environment_of_pages(), 1, entry, context)
    return f"{made.answer}{made.body}"


def everything(run: Run, splits: Splits, against: int | None) -> Explained:
    """A picture explained by every method, with changes, neighbours and every note."""
    classifier, image = run.classifier, splits.test.images[0]
    explanation = explain(classifier, image, 0, methods=EXPLAINERS, against=against)
    ways = counterfactuals(classifier, image)
    vain = tuple(replace(way, confirmed=number == 0) for number, way in enumerate(ways))
    index = index_sample(classifier, splits.train, splits.validation)
    similar, novelty = neighbours_of(index, image, 3)
    outcomes: tuple[Outcome, ...] = ("passed", "failed", "undecided")
    verdicts = {name: Verdict(outcomes[at % 3], 0.1) for at, name in enumerate(EXPLAINERS) if at}
    explanation = replace(explanation, notes=NOTES)
    return Explained("그림.png", explanation, vain, similar, novelty, verdicts)


@pytest.mark.parametrize("against", [None, 1])
def test_pictures_explained_by_every_method_are_all_korean(
    run: Run, splits: Splits, against: int | None
) -> None:
    one = everything(run, splits, against)
    page = explained_page([one, one], language="ko")
    assert english_in(page) == []
    assert broken_particles(page) == []
    text = " ".join(Text(page).texts)
    assert all(KOREAN[name] in text for name in EXPLAINERS)
    assert all(KOREAN[explainer.caveat] in text for explainer in EXPLAINERS.values())


def test_a_network_without_evidence_and_one_that_is_covered_are_explained_in_korean(
    run: Run, splits: Splits
) -> None:
    network = copy.deepcopy(run.classifier)
    for weight in network.network.parameters():
        nn.init.zeros_(weight)
    empty = Explained("그림.png", explain(network, splits.test.images[0], 0, methods=EXPLAINERS))
    assert english_in(explained_page([empty], language="ko")) == []
    kinds = [("add", "erase"), ("add", "add"), ("erase",), ("cover",), ("cover", "cover")]
    way = counterfactuals(run.classifier, splits.test.images[0])[0]
    with use_language("ko"):
        for edits in kinds:
            made = replace(way, confirmed=True, edits=tuple(Edit(kind, 1, 1, 1.0) for kind in edits))
            assert english_in(made.sentence) == []
        coloured = replace(way, confirmed=False, image=torch.zeros(3, 64, 64, dtype=torch.uint8))
        assert english_in(coloured.sentence) == []


def test_two_runs_compared_are_all_korean(run: Run, splits: Splits) -> None:
    other = copy.deepcopy(run.classifier)
    nn.init.zeros_(next(other.network.parameters()))
    for second in (other, run.classifier):
        found = compare(run.classifier, second, splits.test, names=("하나", "둘"))
        page = compare_page(found, run.classifier, second, language="ko")
        assert english_in(page) == []
        assert broken_particles(page) == []


def rendered(run: Run, splits: Splits, evaluation: Evaluation | None = None) -> str:
    return report.render(ReportContext(run, splits, evaluation or run.evaluate(splits.test), "ko"))


def without(splits: Splits, part: str, name: str) -> Splits:
    """The pictures with one class missing in one part."""
    dataset = getattr(splits, part)
    kept = torch.nonzero(dataset.labels != dataset.classes.index(name))[:, 0]
    return replace(splits, **{part: dataset.subset(kept)})


def leaking(splits: Splits) -> Splits:
    """Six training pictures stand in the test set, too."""
    leaked = replace(splits.train.subset(torch.arange(6)), sources=[f"샌것/{n}.png" for n in range(6)])
    test = Dataset(
        torch.cat([leaked.images, splits.test.images]),
        torch.cat([leaked.labels, splits.test.labels]),
        splits.test.classes,
        [*leaked.sources, *splits.test.sources],
    )
    return replace(splits, test=test)


@pytest.mark.parametrize("outcome", ["passed", "failed", "undecided"])
def test_a_report_is_all_korean_whether_its_maps_passed_or_not(
    run: Run, splits: Splits, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ReportContext(run, splits, run.evaluate(splits.test), "ko")
    with use_language("ko"):
        evidence = ReportContext(run, splits, context.evaluation, "ko").evidence
    methods = tuple(replace(method, outcome=outcome) for method in evidence.methods)
    monkeypatch.setattr(ReportContext, "evidence", replace(evidence, methods=methods))
    page = report.render(context)
    assert english_in(page) == []
    assert broken_particles(page) == []
    assert (KOREAN["Methods that failed: do not use their maps"] in page) is (outcome == "failed")


def test_a_report_of_leaking_pictures_and_of_a_class_that_is_missing_is_all_korean(
    run: Run, splits: Splits, tmp_path: Path
) -> None:
    own = replace(run, folder=Path(shutil.copytree(run.folder, tmp_path / "한글")))
    for changed in (leaking(splits), without(splits, "test", "상자")):
        page = rendered(own, changed, own.evaluate(changed.test))
        assert english_in(page) == []
        assert KOREAN["This part could not be made:"] not in page


def test_a_report_of_colour_and_every_augmentation_is_all_korean(tmp_path: Path) -> None:
    splits = named(toy_splits(channels=3))
    recipe = replace(QUICK, epochs=1, augment=",".join(AUGMENTATIONS))
    run = fit(splits.train, splits.validation, recipe, folder=tmp_path / "한글", origin=Origin("장난감"))
    page = rendered(run, splits)
    assert english_in(page, *AUGMENTATIONS) == []
    assert KOREAN["This part could not be made:"] not in page


def test_what_goes_wrong_in_a_part_is_quoted_as_english(
    run: Run, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no maps today")

    monkeypatch.setattr(layers, "record", broken)
    page = rendered(run, splits)
    assert '<span lang="en" translate="no">RuntimeError: no maps today</span>' in page
    assert english_in(page) == []


def test_no_translation_keeps_a_word_of_english() -> None:
    found = {sentence: english_in(korean, "check") for sentence, korean in KOREAN.items()}
    assert {sentence: words for sentence, words in found.items() if words} == {}


def test_the_checks_find_what_they_look_for() -> None:
    assert english_in("<p>막대 left <code>x y</code> “no more” 그림.png --size로</p>") == ["left"]
    assert broken_particles("<p>막대을 보고 {을/를}</p>") == ["막대을", "{을/를}"]
    assert broken_particles("<p>막대를 보고</p>") == []
