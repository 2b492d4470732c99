"""Networks are counted by the pictures that they were judged on, across runs, and nothing else is."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from pellucid.cache import cache_folder
from pellucid.classifier import Classifier
from pellucid.data.preprocess import Preprocess
from pellucid.evaluation.evaluation import evaluate
from pellucid.evaluation.ledger import number_judged, weights_digest
from pellucid.models import build
from tests.toys import toy_splits

TEST, OTHER = "a" * 64, "b" * 64


def toy_classifier() -> Classifier:
    test = toy_splits().test
    network = build("tutorial", test.channels, len(test.classes), test.size, seed=3)
    return Classifier(network, test.classes, Preprocess(test.channels, *test.size), "tutorial")


def network_name(number: int) -> str:
    return f"{number:032x}"


def test_each_network_gets_the_next_number_and_keeps_it() -> None:
    assert [number_judged(TEST, network_name(n)) for n in range(20)] == list(range(1, 21))
    assert number_judged(TEST, network_name(4)) == 5
    assert number_judged(OTHER, network_name(4)) == 1
    (first, _) = sorted((cache_folder() / "judged").iterdir())
    assert first.stat().st_size == 20 * 33


def test_lines_that_are_damaged_are_passed_over() -> None:
    number_judged(TEST, network_name(0))
    (path,) = (cache_folder() / "judged").iterdir()
    path.write_bytes(path.read_bytes() + b"\xff\xfe\n\ncut off\n")
    assert number_judged(TEST, network_name(1)) == 2


def test_a_line_that_a_full_disk_cut_off_spoils_none_after_it() -> None:
    assert [number_judged(TEST, network_name(n)) for n in range(2)] == [1, 2]
    (path,) = (cache_folder() / "judged").iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    assert [number_judged(TEST, network_name(n)) for n in (2, 3, 2)] == [2, 3, 2]


def test_writers_at_the_same_time_lose_no_network() -> None:
    program = (
        "import sys; from pellucid.evaluation.ledger import number_judged\n"
        "for n in range(40): number_judged('a' * 64, f'{int(sys.argv[1]) * 40 + n:032x}')"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, str(n)]) for n in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    assert number_judged(TEST, network_name(1000)) == 81


def test_where_nothing_can_be_kept_nothing_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("PELLUCID_HOME", str(tmp_path / "file"))
    assert number_judged(TEST, network_name(0)) is None
    assert evaluate(toy_classifier(), toy_splits().test).count == len(toy_splits().test)


def test_networks_are_the_same_by_their_weights_and_names() -> None:
    torch.manual_seed(1)
    first, other = nn.Linear(3, 2), nn.Linear(3, 2)
    assert weights_digest(first) != weights_digest(other)
    other.load_state_dict(first.state_dict())
    assert weights_digest(first) == weights_digest(other)
    with torch.no_grad():
        other.bias[0] += 1e-6
    assert weights_digest(first) != weights_digest(other)


def test_evaluate_enters_the_network_for_exactly_those_pictures() -> None:
    classifier, test = toy_classifier(), toy_splits().test
    weights = weights_digest(classifier.network)
    number_judged(test.fingerprint, network_name(0))
    evaluate(classifier, test)
    assert number_judged(test.fingerprint, network_name(1)) == 3
    assert number_judged(test.fingerprint, weights) == 2
    evaluate(classifier, test.subset([0, 1]))
    assert number_judged(test.fingerprint, network_name(2)) == 4
