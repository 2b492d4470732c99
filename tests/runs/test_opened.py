"""A network that was trained elsewhere: a run like any other, that says what is not known of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.data.dataset import Dataset
from pellucid.errors import UsageError
from pellucid.live import served
from pellucid.pad.section import Subject

CLASSES = ("bar", "box", "post")


def pictures(count: int = 90, seed: int = 0) -> Dataset:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 60, (count, 1, 16, 16), generator=generator).to(torch.uint8)
    labels = torch.arange(count) % 3
    for image, label in zip(images, labels.tolist(), strict=True):
        image[0, 6:9] += 150 * (label == 0)
        image[0, 3:13, 3:13] += 150 * (label == 1)
        image[0, :, 6:9] += 150 * (label == 2)
    return Dataset(images, labels, CLASSES, [f"p{seed}/{index}" for index in range(count)])


class Small(nn.Module):
    """A plain network of convolutions that returns scores."""

    def __init__(self, units: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, stride=2)
        self.dense = nn.Linear(6 * 49, units)

    def forward(self, images: Tensor) -> Any:
        return self.dense(self.conv(images).relu().flatten(1))


class Named(Small):
    """Its probabilities are an entry of a dict, beside its hidden layer."""

    def forward(self, images: Tensor) -> Any:
        hidden = self.conv(images).relu()
        return {"hidden": hidden, "probabilities": self.dense(hidden.flatten(1)).softmax(dim=1)}


class Vision(nn.Module):
    """A small vision transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 16, 4, stride=4)
        self.places = nn.Parameter(torch.randn(1, 17, 16) / 4)
        self.first = nn.Parameter(torch.randn(1, 1, 16) / 4)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.first.expand(len(images), -1, -1), tokens], dim=1) + self.places
        return self.head(self.block(tokens)[:, 0])


def taught(network: nn.Module, *, steps: int = 60) -> nn.Module:
    """The network after a few steps of someone else's training."""
    learned = pictures(90, seed=7)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(steps):
        found = network(learned.images / 255)
        scores = found["probabilities"].log() if isinstance(found, dict) else found
        loss = nn.functional.cross_entropy(scores, learned.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(autouse=True)
def _seeded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)


NETWORKS: dict[str, Callable[[], nn.Module]] = {"scores": Small, "dict": Named, "transformer": Vision}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_page_is_made_of_it(tmp_path: Path, name: str) -> None:
    network = taught(NETWORKS[name]())
    test = pictures()
    run = pellucid.open_module(network, CLASSES, test=test, folder=tmp_path / "run")
    with torch.no_grad():
        found = network(test.images / 255)
    expected = found["probabilities"] if isinstance(found, dict) else found.softmax(dim=1)
    assert torch.allclose(run.classifier.predict(test), expected, atol=1e-5)
    evaluation = run.evaluation()
    assert evaluation is not None
    assert evaluation.correct == int((expected.argmax(dim=1) == test.labels).sum())
    again = pellucid.Run.open(tmp_path / "run", model=NETWORKS[name]())
    assert torch.equal(again.classifier.predict(test), run.classifier.predict(test))
    assert "elsewhere" in repr(again)
    page = run.report().read_text(encoding="utf-8")
    assert "pictures it never saw" not in page
    assert "Error:" not in page
    assert page.count("trained elsewhere") >= 3
    assert torch.equal(
        pellucid.explain(run.classifier, test.images[0]).probabilities, run.classifier.predict(test)[0]
    )
    assert pellucid.export(run, tmp_path / "page.html").stat().st_size > 100_000
    column = served("own", Subject(run.classifier, test=test))
    assert column.name == "own"


def test_what_it_learned_from_is_said_to_be_unknown(tmp_path: Path) -> None:
    run = pellucid.open_module(taught(Small()), CLASSES, test=pictures(), folder=tmp_path / "run")
    assert run.recipe is None
    assert not run.history
    assert not (tmp_path / "run" / "recipe.json").exists()
    assert "what it learned from is not known" in str(run.basis().unsearched)
    with pytest.raises(UsageError, match="no pictures to choose thresholds by"):
        run.held_out()
    with pytest.raises(UsageError, match="what the network learned from is not known"):
        run.reference()
    with pytest.raises(UsageError, match="no test picture would be new"):
        pellucid.fit(pictures(), pictures(seed=1), warm_start=run, folder=tmp_path / "next")


def test_with_its_training_pictures_copies_among_the_test_pictures_are_found(tmp_path: Path) -> None:
    train, test = pictures(60, seed=3), pictures(60, seed=4)
    test.images[0] = train.images[0]
    run = pellucid.open_module(
        taught(Small()),
        CLASSES,
        test=test,
        train=train,
        validation=pictures(60, seed=5),
        folder=tmp_path / "run",
    )
    assert run.basis().leaking == ("p4/0",)
    assert any("only among the pictures that were given" in str(each) for each in run.basis().sentences)
    assert run.calibration.reason == ""
    assert run.classifier.temperature != 1
    assert run.threshold(coverage=0.9)
    assert len(run.novelty(test).unlike) == 60


def test_normalising_and_one_unit_for_two_classes_are_done_around_it(tmp_path: Path) -> None:
    two = pictures(90)
    two = two.subset(two.labels < 2)
    two = Dataset(two.images, two.labels, CLASSES[:2], two.sources)
    for number, network in enumerate([Small(1), nn.Sequential(Small(1), nn.Sigmoid())]):
        folder = tmp_path / str(number)
        run = pellucid.open_module(network, CLASSES[:2], test=two, normalize=([0.5], [0.25]), folder=folder)
        found = network((two.images / 255 - 0.5) / 0.25)[:, 0].detach()
        expected = found if number else found.sigmoid()
        assert torch.allclose(run.classifier.predict(two)[:, 1], expected, atol=1e-5)
        again = pellucid.Run.open(folder, model=network)
        assert torch.equal(again.classifier.predict(two), run.classifier.predict(two))


def test_labels_are_numbered_as_its_outputs_are(tmp_path: Path) -> None:
    test = pictures()
    order = torch.tensor([2, 0, 1])
    other = Dataset(test.images, order[test.labels], ("box", "post", "bar"), test.sources)
    network = taught(Small())
    one = pellucid.open_module(network, CLASSES, test=test, folder=tmp_path / "one").evaluation()
    two = pellucid.open_module(network, CLASSES, test=other, folder=tmp_path / "two").evaluation()
    assert one is not None
    assert two is not None
    assert one.correct == two.correct


REFUSED: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "sigmoids": (lambda: {"network": nn.Sequential(Small(), nn.Sigmoid())}, "sigmoid for each class"),
    "units": (lambda: {"network": Small(4)}, r"scores \(B, 3\)"),
    "colour": (lambda: {"network": nn.Conv2d(3, 1, 3)}, r"expected input.* to have 3 channels"),
    "class": (
        lambda: {"classes": ("bar", "box", "ring")},
        "show 'post', which the network has no output for",
    ),
    "names": (lambda: {"classes": 3}, "Expected the names of the classes"),
    "size": (lambda: {"preprocess": (1, 20, 20)}, r"takes pictures \(C, H, W\) of \(1, 20, 20\)"),
    "normalize": (lambda: {"normalize": ([0.5, 0.5, 0.5], [1, 1, 1])}, "1 channels"),
    "none": (lambda: {"test": pictures().subset([])}, "no test pictures"),
    "function": (lambda: {"network": len}, r"torch\.nn\.Module; got builtin"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_words_and_leaves_no_folder(tmp_path: Path, case: str) -> None:
    change, message = REFUSED[case]
    given = {
        "network": Small(),
        "classes": CLASSES,
        "test": pictures(),
        "folder": tmp_path / "run",
        **change(),
    }
    with pytest.raises(UsageError, match=message):
        pellucid.open_module(given.pop("network"), given.pop("classes"), **given)
    assert not (tmp_path / "run").exists()
