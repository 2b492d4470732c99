"""A classifier answers the same to the last digit however it is asked, and no damaged file is believed."""

import hashlib
import itertools
import json
import os
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from pellucid.classifier import Classifier
from pellucid.data.preprocess import Preprocess
from pellucid.errors import PellucidError, UsageError
from pellucid.inference import fixed_batches
from pellucid.models import build
from tests.toys import CLASSES, same_weights, toy_dataset, write_picture

Edit = Callable[[dict[str, Any]], Any]


def toy_classifier(channels: int = 1, *, classes: tuple[str, ...] = CLASSES, seed: int = 0) -> Classifier:
    network = build("tutorial", channels, len(classes), (16, 16), seed=seed)
    return Classifier(network, classes, Preprocess(channels, 16, 16), "tutorial")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    toy_classifier().save(folder, training={"why": "a test"})
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A saved classifier of this test's own, to be damaged."""
    for name in ("model.json", "model.safetensors"):
        (tmp_path / name).write_bytes((saved / name).read_bytes())
    return tmp_path


def edit(folder: Path, change: Edit) -> None:
    """model.json holds what `change` makes of it."""
    path = folder / "model.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(change(manifest)))


def put_weights(folder: Path, content: bytes) -> None:
    """model.safetensors holds `content`, and model.json vouches for it: the work of somebody who means it."""
    (folder / "model.safetensors").write_bytes(content)
    edit(folder, lambda manifest: manifest | {"sha256": hashlib.sha256(content).hexdigest()})


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_gets_the_same_bytes_at_every_position_and_with_any_neighbours(channels: int) -> None:
    classifier = toy_classifier(channels)
    images = toy_dataset(50, channels=channels).images
    together = classifier.predict(images)
    for index in (0, 1, 7, 24, 49):
        assert torch.equal(classifier.predict(images[index : index + 1])[0], together[index])
    for size in (7, 16, 33, 49):
        parts = [classifier.predict(part) for part in images.split(size)]
        assert torch.equal(torch.cat(parts), together)
    turned = torch.randperm(50)
    assert torch.equal(classifier.predict(images[turned]), together[turned])


def test_more_pictures_than_a_batch_change_no_answer() -> None:
    classifier = toy_classifier()
    few = toy_dataset(30).images
    size = next(fixed_batches(few))[1].shape[0]
    many = torch.cat([toy_dataset(size + 40, seed=3).images, few])
    assert len(many) > size
    assert torch.equal(classifier.predict(many)[-30:], classifier.predict(few))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_layout_in_memory_changes_no_answer(channels: int) -> None:
    classifier = toy_classifier(channels)
    images = toy_dataset(20, channels=channels).images
    plain = classifier.predict(images)
    assert torch.equal(classifier.predict(images.contiguous(memory_format=torch.channels_last)), plain)
    strided = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert torch.equal(classifier.predict(strided), plain)
    assert torch.equal(classifier.predict(images.repeat(1, 1, 1, 2)[..., :16]), plain)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_read_from_its_file_gets_the_same_bytes(tmp_path: Path, channels: int) -> None:
    classifier = toy_classifier(channels)
    images = toy_dataset(4, channels=channels).images
    together = classifier.predict(images)
    for index, image in enumerate(images):
        read = classifier.preprocess.read(write_picture(tmp_path / f"{index}.png", image))
        assert torch.equal(classifier.predict(read[None])[0], together[index])


def test_answers_are_probabilities_of_the_scores() -> None:
    classifier = toy_classifier()
    images = toy_dataset(9).images
    probabilities = classifier.predict(images)
    assert probabilities.dtype == torch.float32
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(9))
    assert torch.equal(classifier.logits(images).softmax(dim=1), probabilities)
    classifier.network.eval()
    with torch.no_grad():
        direct = classifier.network(images.float() / 255).softmax(dim=1)
    assert torch.allclose(probabilities, direct, atol=1e-6)


def test_a_temperature_divides_the_scores_and_changes_no_answer(tmp_path: Path) -> None:
    plain = toy_classifier()
    images = toy_dataset(200).images
    for temperature in (0.01, 0.4, 2.5, 100.0):
        classifier = replace(plain, temperature=temperature)
        assert torch.equal(classifier.logits(images), plain.logits(images))
        probabilities = classifier.predict(images)
        assert torch.equal(probabilities, (plain.logits(images) / temperature).softmax(dim=1))
        assert torch.equal(probabilities.argmax(dim=1), plain.predict(images).argmax(dim=1))
        classifier.save(tmp_path)
        assert Classifier.load(tmp_path).temperature == temperature
        assert torch.equal(Classifier.load(tmp_path).predict(images), probabilities)


@pytest.mark.parametrize("temperature", [0.0, -1.0, 0.0099, 101.0, float("nan"), float("inf"), 1, "1"])
def test_a_temperature_that_makes_no_sense_is_refused_before_anything_is_saved(temperature: Any) -> None:
    with pytest.raises(UsageError, match=r"expected a temperature from 0\.01 to 100; got"):
        replace(toy_classifier(), temperature=temperature)


def test_no_pictures_get_no_answers() -> None:
    answers = toy_classifier().predict(torch.empty(0, 1, 16, 16, dtype=torch.uint8))
    assert answers.shape == (0, len(CLASSES))


@pytest.mark.parametrize(
    "images",
    [
        torch.full((2, 1, 16, 16), 2.0),
        torch.zeros(16, 16, dtype=torch.uint8),
        torch.zeros(2, 3, 16, 16, dtype=torch.uint8),
        torch.zeros(2, 1, 16, 15, dtype=torch.uint8),
        torch.zeros(2, 1, 16, 16, dtype=torch.int64),
        torch.zeros(0, dtype=torch.uint8),
    ],
)
def test_pictures_of_another_kind_are_refused_with_what_was_received(images: Tensor) -> None:
    with pytest.raises(UsageError) as caught:
        toy_classifier().predict(images)
    expected = "Expected pictures as uint8 ('N', 1, 16, 16), or float 0..1 of that shape; got "
    assert expected in str(caught.value)
    assert f"{str(images.dtype).removeprefix('torch.')}" in str(caught.value)
    assert f"{tuple(images.shape)}." in str(caught.value)


class Breaking(nn.Module):
    """A network that fails in the middle of its work."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Flatten(), nn.Dropout(0.5))

    def forward(self, images: Tensor) -> Tensor:
        self.inner(images)
        raise RuntimeError("broken")


@pytest.mark.parametrize("breaking", [False, True])
def test_asking_leaves_modes_random_state_and_threads_as_they_were(breaking: bool) -> None:
    classifier = toy_classifier()
    if breaking:
        classifier = replace(classifier, network=Breaking())
    modules = list(classifier.network.modules())
    for number, module in enumerate(modules):
        module.training = number % 2 == 0
    before = [m.training for m in modules], torch.random.get_rng_state(), torch.get_num_threads()
    if breaking:
        with pytest.raises(UsageError, match="The network itself fails: RuntimeError: broken"):
            classifier.predict(toy_dataset(3).images)
    else:
        classifier.predict(toy_dataset(3).images)
    assert [module.training for module in modules] == before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1])
    assert torch.get_num_threads() == before[2]
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    assert all(p.grad is None for p in classifier.network.parameters())


def test_what_was_saved_and_loaded_answers_with_the_same_bytes(tmp_path: Path) -> None:
    classifier = toy_classifier(3, classes=("ä", 'b,"', "\u202e한", "<b>"))
    classifier = replace(classifier, preprocess=Preprocess(3, 16, 16, "stretch"))
    classifier.save(tmp_path)
    loaded = Classifier.load(tmp_path)
    images = toy_dataset(40, channels=3).images
    assert torch.equal(loaded.predict(images), classifier.predict(images))
    assert same_weights(loaded.network, classifier.network)
    found = loaded.classes, loaded.preprocess, loaded.model
    assert found == (classifier.classes, classifier.preprocess, classifier.model)
    assert not any(module.training for module in loaded.network.modules())


def test_saving_twice_gives_the_same_files(tmp_path: Path, saved: Path) -> None:
    toy_classifier().save(tmp_path, training={"why": "a test"})
    for name in ("model.json", "model.safetensors"):
        assert (tmp_path / name).read_bytes() == (saved / name).read_bytes()


def test_loading_leaves_torchs_random_state_as_it_was(saved: Path) -> None:
    before = torch.random.get_rng_state()
    Classifier.load(saved)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_folder_without_a_classifier_is_a_usage_error(tmp_path: Path) -> None:
    for place in (
        tmp_path,
        tmp_path / "nowhere",
        write_picture(tmp_path / "x.png", toy_dataset(1).images[0]),
    ):
        with pytest.raises(UsageError, match=r"holds no model\.json\. Expected a run's folder"):
            Classifier.load(place)


def test_missing_weights_are_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(PellucidError, match=r"model\.safetensors' is damaged: it is missing"):
        Classifier.load(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(PellucidError, match=name.replace(".", r"\.")):
        Classifier.load(folder)


def test_every_flipped_bit_of_a_sample_is_noticed(folder: Path) -> None:
    """In the weights every one; in the manifest none changes a weight or ends in anything but a message."""
    generator = random.Random(7)
    weights = (folder / "model.safetensors").read_bytes()
    places = [*range(0, 600, 7), *(generator.randrange(len(weights)) for _ in range(60))]
    for place in places:
        (folder / "model.safetensors").write_bytes(flipped(weights, place, generator.randrange(8)))
        with pytest.raises(PellucidError, match=r"model\.safetensors' (is damaged|does not fit the network)"):
            Classifier.load(folder)
    (folder / "model.safetensors").write_bytes(weights)
    manifest = (folder / "model.json").read_bytes()
    original = Classifier.load(folder)
    for place, bit in itertools.product(range(0, len(manifest), 2), (0, 5)):
        (folder / "model.json").write_bytes(flipped(manifest, place, bit))
        try:
            loaded = Classifier.load(folder)
        except PellucidError:
            continue
        assert same_weights(loaded.network, original.network)


def flipped(content: bytes, place: int, bit: int) -> bytes:
    """`content` with one bit changed."""
    return content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_file_cut_off_anywhere_is_refused(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    # What JSON has after its last brace is a newline: to lose that is to lose nothing.
    for length in range(0, len(content.rstrip()), max(1, len(content) // 60)):
        (folder / name).write_bytes(content[:length])
        with pytest.raises(PellucidError):
            Classifier.load(folder)


def test_weights_of_another_run_are_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    toy_classifier(seed=1).save(other)
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(PellucidError, match=r"SHA-256 is not the one in model\.json"):
        Classifier.load(folder)


FOREIGN: dict[str, Any] = {
    "a list": [],
    "a word": "model",
    "a number": 7,
    "null": None,
    "nothing": {},
}


WRONG: dict[str, Any] = {
    "format": [2, "1", None, [], {}],
    "model": ["resnet152", "__import__('os')", "", 7, None, [], {}, ["tutorial"]],
    "classes": [
        [],
        ["one"],
        "word",
        None,
        7,
        {},
        [1, 2],
        ["a", None],
        ["a", "a"],
        ["a", "\ud800"],
        [["a"], ["b"]],
    ],
    "sha256": [None, 7, "", [], "0" * 64],
    "preprocess": [None, [], "x", 7, {}, {"channels": 1}],
    "temperature": [None, 0.0, -1.0, 1e9, float("nan"), float("inf"), "1.0", True, [1.0], {}, 1],
}


SIZES: dict[str, Any] = {
    "channels": [0, 2, 4, -1, 1.0, "1", None, True, 10**30],
    "height": [0, -16, 16.5, "16", None, [], 10**9, 2**63, True, 3],
    "width": [0, -16, 16.5, "16", None, {}, 10**9, 3],
    "fit": ["", "squeeze", None, [], 7],
    "code": ["print()"],
}


@pytest.mark.parametrize("manifest", FOREIGN.values(), ids=FOREIGN)
def test_a_manifest_that_is_something_else_is_refused(folder: Path, manifest: Any) -> None:
    edit(folder, lambda _: manifest)
    with pytest.raises(PellucidError, match=r"model\.json' is damaged"):
        Classifier.load(folder)


@pytest.mark.parametrize("name", WRONG)
def test_an_entry_that_is_missing_or_of_another_kind_is_refused(folder: Path, name: str) -> None:
    original = (folder / "model.json").read_text()
    edit(folder, lambda manifest: {key: value for key, value in manifest.items() if key != name})
    with pytest.raises(PellucidError, match="damaged"):
        Classifier.load(folder)
    for value in WRONG[name]:
        (folder / "model.json").write_text(original)
        edit(folder, lambda manifest, value=value: manifest | {name: value})
        with pytest.raises(PellucidError, match=r"damaged|has format|NaN is not|Infinity is not") as caught:
            Classifier.load(folder)
        assert caught.value.exit_code == 1


@pytest.mark.parametrize("name", SIZES)
def test_a_preprocessing_that_makes_no_sense_is_refused(folder: Path, name: str) -> None:
    original = (folder / "model.json").read_text()
    for value in SIZES[name]:
        (folder / "model.json").write_text(original)
        edit(folder, lambda m, value=value: m | {"preprocess": m["preprocess"] | {name: value}})
        with pytest.raises(PellucidError):
            Classifier.load(folder)


@pytest.mark.parametrize("claim", [{"height": 2_048, "width": 2_048}, {"height": 4_096}, {"channels": 3}])
def test_a_network_larger_than_its_file_is_refused_before_memory_is_taken(
    folder: Path, claim: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(folder, lambda m: m | {"preprocess": m["preprocess"] | claim})
    taken = most_memory(monkeypatch)
    with pytest.raises(PellucidError, match=r"does not fit the network: (dense1|conv1)\.weight is"):
        Classifier.load(folder)
    assert max(taken, default=0) < 10_000_000


def test_a_hundred_thousand_classes_are_refused_quickly(folder: Path) -> None:
    for number in (100_000, 100_001):
        edit(folder, lambda m, number=number: m | {"classes": [str(k) for k in range(number)]})
        with pytest.raises(PellucidError, match=r"does not fit|damaged"):
            Classifier.load(folder)


def most_memory(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by the number of values of every tensor drawn in real memory."""
    drawn: list[int] = []
    uniform = nn.init.uniform_

    def noted(tensor: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
        drawn.append(0 if tensor.is_meta else tensor.numel())
        return uniform(tensor, *arguments, **keywords)

    monkeypatch.setattr(nn.init, "uniform_", noted)
    return drawn


def wrong_tensors(good: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Tensors that are no weights of the network, each in its own way."""
    yield {}
    yield {**good, "extra": torch.zeros(1)}
    yield {name: tensor for name, tensor in good.items() if name != "conv1.bias"}
    yield {**good, "conv1.bias": torch.zeros(17)}
    yield {**good, "conv1.bias": torch.zeros(0)}
    yield {**good, "conv1.bias": torch.zeros(16, 1)}
    yield {**good, "conv1.bias": torch.zeros(16, dtype=torch.float64)}
    yield {**good, "conv1.bias": torch.zeros(16, dtype=torch.int64)}
    yield {**good, "conv1.bias": torch.zeros(16, dtype=torch.bool)}
    yield {**good, "conv1.weight": good["conv1.weight"].transpose(2, 3)[:, :, :2].contiguous()}
    yield {name.upper(): tensor for name, tensor in good.items()}
    yield {f"tensor{number}": torch.zeros(1) for number in range(20_000)}


def test_tensors_that_do_not_fit_the_network_are_refused_even_when_vouched_for(folder: Path) -> None:
    good = load_tensors((folder / "model.safetensors").read_bytes())
    for tensors in wrong_tensors(good):
        put_weights(folder, save_tensors(tensors))
        with pytest.raises(PellucidError, match=r"does not fit the network|up to 16,384 tensors") as caught:
            Classifier.load(folder)
        assert len(str(caught.value)) < 600


def header(text: str | bytes, content: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file of that header."""
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw) if length is None else length) + raw + content


FORGED: dict[str, bytes] = {
    "empty": b"",
    "short": b"\x00\x00\x00",
    "header longer than the file": header("{}", length=1 << 62),
    "header that is no JSON": header("{"),
    "header of another kind": header("[]"),
    "header nested deeply": header("[" * 50_000),
    "header that is no UTF-8": header(b"\xff\xfe{}"),
    "unknown type": header('{"a":{"dtype":"X9","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
    "half-byte type": header('{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}', bytes(1)),
    "eighth-byte type": header('{"a":{"dtype":"F8_E8M0","shape":[1],"data_offsets":[0,1]}}', bytes(1)),
    "shape past the content": header(
        '{"a":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4]}}', bytes(4)
    ),
    "shape that overflows": header(
        '{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}'
    ),
    "offsets past the end": header('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'),
    "offsets backwards": header('{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}', bytes(4)),
    "a gap": header('{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', bytes(8)),
    "no shape": header('{"a":{"dtype":"F32","data_offsets":[0,4]}}', bytes(4)),
    "a pickle": b"\x80\x04\x95\x1f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "a zip, as torch.save writes": b"PK\x03\x04" + bytes(60),
    "an hdf5 file, as Keras wrote": b"\x89HDF\r\n\x1a\n" + bytes(60),
    "numbers without end": header('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,' + "9" * 400 + "]}}"),
}


@pytest.mark.parametrize("content", FORGED.values(), ids=FORGED)
def test_a_forged_weights_file_is_refused_even_when_vouched_for(folder: Path, content: bytes) -> None:
    put_weights(folder, content)
    with pytest.raises(PellucidError, match=r"is not a safetensors file|does not fit the network"):
        Classifier.load(folder)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_mutated_pair_of_files_ends_in_anything_but_a_message(
    saved: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("mutated")
    manifest = json.loads((saved / "model.json").read_text())
    kinds = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    values = st.recursive(
        kinds, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
    )
    place = data.draw(st.sampled_from([manifest, manifest["preprocess"]]))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(values)
    weights = bytearray((saved / "model.safetensors").read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        weights[data.draw(st.integers(0, 700))] = data.draw(st.integers(0, 255))
    (folder / "model.safetensors").write_bytes(weights)
    if data.draw(st.booleans()):
        manifest["sha256"] = hashlib.sha256(weights).hexdigest()
    (folder / "model.json").write_text(json.dumps(manifest))
    try:
        Classifier.load(folder).predict(toy_dataset(2).images)
    except PellucidError:
        return
