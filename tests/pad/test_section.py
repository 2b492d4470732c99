"""The page carries what it says, in the bytes it may, and says what it cannot carry."""

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.data.preprocess import Preprocess
from pellucid.errors import UsageError
from pellucid.exporters.page import export_page
from pellucid.inference import scaled
from pellucid.live.app import PAGE_SCRIPTS
from pellucid.models import build
from pellucid.pad.data import ChannelData, SnapshotsData
from pellucid.pad.packing import pack_snapshots
from pellucid.pad.program import lower
from pellucid.pad.section import (
    MAX_SNAPSHOT_BYTES,
    Section,
    Subject,
    class_balanced_order,
    drawing_section,
)
from tests.networks import SHAPES, Sorting, network
from tests.toys import CLASSES, SIZE, toy_splits

PAGES = Path(__file__).parents[2] / "pellucid" / "assets"
WORDS = json.loads((PAGES / "pad" / "words.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def subject() -> Subject:
    """Toys, a network of random weights, and a short, made-up past."""
    made = build("tutorial", 1, len(CLASSES), (SIZE, SIZE), seed=1).eval()
    classifier = Classifier(made, CLASSES, Preprocess(1, SIZE, SIZE), "tutorial")
    splits = toy_splits(120)
    past = [
        (f"epoch {number}", number, _shaken(made.state_dict(), 0.1 * (3 - number))) for number in range(3)
    ]
    return Subject(classifier, "toys", splits.train, splits.test, past)


@pytest.fixture(scope="module")
def section(subject: Subject) -> Section:
    return drawing_section(subject)


def in_page_order(subject: Subject) -> Dataset:
    """The test pictures in the order in which the page takes them."""
    assert subject.test is not None
    return subject.test.subset(class_balanced_order(subject.test))


def _shaken(state, by):
    generator = torch.Generator().manual_seed(5)
    return {name: value + by * torch.randn(value.shape, generator=generator) for name, value in state.items()}


def test_the_page_needs_nothing_outside_itself(subject: Subject, tmp_path: Path) -> None:
    page = export_page(subject, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|import)\s*\(", page)


def test_no_name_can_end_the_data(subject: Subject) -> None:
    hostile = "</script><script>alert(1)</script>"
    classifier = subject.classifier
    renamed = Classifier(classifier.network, (hostile, *CLASSES[1:]), classifier.preprocess, "tutorial")
    section = drawing_section(Subject(renamed, "toys"))
    assert "<" not in section.data_json
    assert json.loads(section.data_json)["pad"]["classes"][0] == hostile


def test_hangul_class_names_arrive_whole(subject: Subject) -> None:
    classifier = subject.classifier
    named = Classifier(
        classifier.network, ("막대", "상자", "십자", "기둥"), classifier.preprocess, "tutorial"
    )
    assert "막대" in drawing_section(Subject(named, "toys")).data_json


def test_the_scores_to_check_against_are_the_networks_own(subject: Subject, section: Section) -> None:
    pictures = in_page_order(subject)
    check = section.pad.check
    scores, exact = torch.tensor(check.scores), subject.classifier.logits(pictures.images[:16])
    assert float((scores - exact).abs().max()) <= check.rounding + 1e-5
    halved = {name: value.half().float() for name, value in subject.classifier.network.state_dict().items()}
    rounded = build("tutorial", 1, len(CLASSES), (SIZE, SIZE), seed=1).eval()
    rounded.load_state_dict(halved)
    with torch.inference_mode():
        assert torch.allclose(scores, rounded(scaled(pictures.images[:16])), atol=2e-5)
    assert check.labels[:4] == [0, 1, 2, 3]
    assert check.changed == 0


def test_what_is_allowed_does_not_depend_on_what_is_found(subject: Subject) -> None:
    exact = drawing_section(subject, precision="f32").pad.check
    halved = drawing_section(subject).pad.check
    assert exact.rounding < 1e-5 < halved.rounding
    assert exact.tolerance == pytest.approx(halved.tolerance, rel=0.01)
    assert halved.tolerance == pytest.approx(1e-4 * max(1, torch.tensor(halved.scores).abs().max()), rel=0.2)


def test_a_channels_pictures_are_those_that_excite_it_most(subject: Subject, section: Section) -> None:
    pictures = in_page_order(subject)
    program = lower(subject.classifier.network, (1, SIZE, SIZE))
    weights = program.weights(subject.classifier.network.state_dict())
    maps = program.run(pictures.images.float() / 255, weights)[program.layers["conv2"]]
    strongest = maps.amax(dim=(2, 3))[:, 5]
    table = section.pad.channels["conv2"]
    assert strongest[table.top[5]].tolist() == strongest.sort(descending=True).values[:9].tolist()
    assert strongest[table.low[5]].tolist() == strongest.sort(descending=True).values[-9:].tolist()
    assert table.excited[5] == pytest.approx(float((strongest > 0).double().mean()), abs=1e-4)
    assert section.pad.channels["pool2"] == ChannelData(same_as="conv2")


def test_what_a_channel_is_worth_is_what_is_lost_without_it(subject: Subject, section: Section) -> None:
    pictures = in_page_order(subject)
    made, labels = subject.classifier.network, pictures.labels
    assert section.pad.ablation_pictures == len(pictures)

    def accuracy() -> float:
        return float((subject.classifier.logits(pictures.images).argmax(dim=1) == labels).double().mean())

    whole = accuracy()
    hook = made.dense1.register_forward_hook(lambda *call: call[2].index_fill(1, torch.tensor([7]), 0))
    lost = accuracy() - whole
    hook.remove()
    table = section.pad.channels["dense1"]
    assert table.accuracy_change[7][0] == round(lost * 1000)
    channels = sum(len(each.accuracy_change or ()) for each in section.pad.channels.values())
    assert section.pad.tested_channels == channels
    for changes, beyond in zip(table.accuracy_change, table.beyond_chance, strict=True):
        assert all(changes[place] for place in beyond)  # what does not change is not beyond chance


def test_snapshots_come_out_as_they_went_in_but_for_half_a_step(subject: Subject) -> None:
    program = lower(subject.classifier.network, (1, SIZE, SIZE))
    snapshots = [program.weights(state) for _, _, state in subject.snapshots]
    _, unpacked = pack_snapshots(snapshots)
    for before, after in zip(snapshots, unpacked, strict=True):
        for exact, rounded in zip(before, after, strict=True):
            if exact.dim() > 1:
                most = torch.stack([m.flatten(1).abs().amax() for m in [exact]]).max() * 1.5
                assert (exact - rounded).abs().max() <= most / 127
            else:
                assert torch.equal(exact.half().float(), rounded)


def test_the_past_is_thinned_out_to_fit_and_keeps_both_ends(subject: Subject) -> None:
    state = subject.classifier.network.state_dict()
    past = [(f"epoch {number}", number, _shaken(state, 0.1 * number)) for number in range(9)]

    def packed(snapshot_bytes: int) -> SnapshotsData | None:
        made = drawing_section(replace(subject, snapshots=past), snapshot_bytes=snapshot_bytes)
        assert made.pad is not None
        return made.pad.snapshots

    whole = packed(MAX_SNAPSHOT_BYTES)
    assert whole is not None
    assert (whole.count, whole.total, whole.bits) == (9, 9, 8)
    size = len(base64.b64decode(whole.data))
    coarser = packed(int(size * 0.9))
    assert (coarser.count, coarser.bits) == (9, 7)  # first coarser, and only then fewer
    assert coarser.difference > whole.difference
    assert len(whole.accuracy) == 9
    fewer = packed(MAX_SNAPSHOT_BYTES // 20)
    assert fewer.count < 9
    assert (fewer.steps[0], fewer.steps[-1]) == (0, 8)
    assert drawing_section(replace(subject, snapshots=[])).pad.snapshots is None


def test_a_page_without_any_picture_still_checks_itself(subject: Subject) -> None:
    data = drawing_section(Subject(subject.classifier)).pad
    assert data.check.labels is None
    assert data.pool is None
    assert len(data.check.scores) == 16


def test_a_network_the_page_cannot_run_gets_a_section_that_says_so(tmp_path: Path) -> None:
    unfit = Subject(Classifier(Sorting().eval(), ("a", "b", "c"), Preprocess(1, 8, 8), "tutorial"))
    section = drawing_section(unfit)
    assert "cannot run 'sort'" in section.refusal
    with pytest.raises(UsageError, match="cannot run 'sort'"):
        export_page(unfit, tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("limit", "said"), [("MAX_MULTIPLY_ADDS", "multiply-adds"), ("MAX_WEIGHT_BYTES", "weights")]
)
def test_a_network_too_large_for_a_page_is_told_so(limit, said, subject: Subject, monkeypatch) -> None:
    monkeypatch.setattr(f"pellucid.pad.section.{limit}", 10)
    assert said in drawing_section(subject).refusal


def test_a_page_of_a_slow_network_runs_fewer_pictures_as_it_opens(subject: Subject, monkeypatch) -> None:
    quick = drawing_section(subject).pad
    assert len(quick.check.scores) == len(quick.check.labels) == 16
    monkeypatch.setattr("pellucid.pad.section.QUICK", 10)
    slow = drawing_section(subject).pad
    assert (len(slow.check.scores), len(slow.check.labels)) == (4, 16)
    assert slow.check.scores == quick.check.scores[:4]


def test_an_unknown_language_is_refused(subject: Subject) -> None:
    with pytest.raises(UsageError, match=r"Unknown language 'fr'\. Known: en, ko\."):
        drawing_section(subject, language="fr")


def test_other_networks_pack_too() -> None:
    made = network("residual")
    classifier = Classifier(made, tuple("abcde"), Preprocess(3, *SHAPES["residual"][1:]), "tutorial")
    past = [("untrained", 0, made.state_dict()), ("epoch 1", 1, made.state_dict())]
    data = drawing_section(Subject(classifier, snapshots=past)).pad
    assert data.snapshots.agreement > 0.9
    assert data.rule is None


def test_both_languages_say_everything() -> None:
    english, korean = WORDS["en"], WORDS["ko"]
    assert english.keys() == korean.keys()
    for key, words in english.items():
        places = sorted(set(re.findall(r"\{\w+\}", words)))
        assert places == sorted(set(re.findall(r"\{\w+\}", korean[key]))), key
        assert words.strip()
        assert korean[key].strip()
    worded = [key for key in english if re.sub(r"\{\w+\}|[^a-zA-Z]", "", english[key])]
    assert [key for key in worded if english[key] == korean[key]] == []


def test_every_word_the_page_asks_for_is_there_and_asked_for() -> None:
    names = PAGE_SCRIPTS  # those of the page that is served, too
    script = "".join((PAGES / name).read_text(encoding="utf-8") for name in names)
    asked = set(re.findall(r"""say\(\s*["'`]([a-z][\w. ]*)["'`]""", script))
    asked |= {text for text in re.findall(r'"([a-z][\w. ]*)"', script) if text in WORDS["en"]}
    assert asked - WORDS["en"].keys() == set()
    built = re.compile(r"(gap|width|scale|method|name)\.|evidence\.(failed|undecided)$")
    unused = [key for key in WORDS["en"] if key not in asked and not built.match(key)]
    assert unused == ["noscript"]  # said by Python
