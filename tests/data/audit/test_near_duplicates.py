"""Near-duplicates are those that a comparison of every two pictures finds, whatever was hashed."""

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.data.audit.near_duplicates import LIMIT, Pair, distances, near_pairs, select, thumbnails
from tests.photographs import CHANGES, changed, photographs, tensor_of

COUNT = 120


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Pictures of which the last eight are careless copies of the first eight, two of each kind."""
    pictures = photographs(COUNT, seed=2, side=48)
    for number in range(8):
        pictures[COUNT - 8 + number] = changed(pictures[number], CHANGES[number % 4])
    return tensor_of(pictures)


def correlations(images: Tensor) -> np.ndarray:
    """1 - r of every two pictures at 32x32, with numpy alone."""
    small = torch.nn.functional.adaptive_avg_pool2d(images.float(), 32).numpy()
    rows = (small - small.mean(axis=(2, 3), keepdims=True)).reshape(len(small), -1)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return 1 - rows @ rows.T


def pairs_of(found: list[Pair]) -> set[tuple[int, int]]:
    return {(pair.first, pair.second) for pair in found}


def every(images: Tensor) -> Tensor:
    return torch.arange(len(images))


def test_they_are_those_of_a_comparison_of_every_two(images: Tensor) -> None:
    found = near_pairs([images], thumbnails([images]), every(images))
    assert pairs_of(found) == {(number, COUNT - 8 + number) for number in range(8)}
    table = correlations(images)
    assert [pair.distance for pair in found] == sorted(pair.distance for pair in found)
    for pair in found:
        assert pair.distance == pytest.approx(table[pair.first, pair.second], abs=1e-4)
        assert pair.distance <= LIMIT
    others = table + 9 * np.eye(COUNT)
    for pair in found:
        others[pair.first, pair.second] = others[pair.second, pair.first] = 9
    assert others.min() > LIMIT, "no other two are that alike"


def test_several_tensors_are_numbered_one_after_the_other(images: Tensor) -> None:
    parts = [images[:50], images[50:90], images[90:]]
    whole = near_pairs([images], thumbnails([images]), every(images))
    assert near_pairs(parts, thumbnails(parts), every(images)) == whole
    indices = torch.tensor([119, 0, 60, 50])
    assert torch.equal(select(parts, indices), images[indices])


def test_only_the_chosen_are_compared(images: Tensor) -> None:
    chosen = torch.tensor([0, 1, 2, COUNT - 8, COUNT - 1])
    assert pairs_of(near_pairs([images], thumbnails([images]), chosen)) == {(0, COUNT - 8)}
    assert near_pairs([images], thumbnails([images]), chosen[:1]) == []


def frames(scenes: int, number: int, *, side: int = 64) -> Tensor:
    """Scenes of pictures that differ by noise of two shades, one scene after the other."""
    random = np.random.default_rng(5)
    shown = np.repeat(photographs(scenes, seed=5, side=side), number, axis=0).astype(np.int64)
    noisy = shown + random.integers(-2, 3, shown.shape)
    return tensor_of(noisy.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize(("scenes", "number"), [(12, 30), (6, 50)])
def test_the_frames_of_a_scene_are_copies_however_many_there_are(scenes: int, number: int) -> None:
    images = frames(scenes, number)
    found = near_pairs([images], thumbnails([images]), every(images))
    assert {pair.first // number for pair in found} == set(range(scenes))
    assert all(pair.first // number == pair.second // number for pair in found)
    assert len({index for pair in found for index in (pair.first, pair.second)}) == len(images)


def test_of_a_camera_that_never_moves_not_every_picture_is_a_copy() -> None:
    """One part after the other on the same belt, each with a mark of its own somewhere."""
    images = frames(1, 100)
    for number in range(100):
        top, left = number // 10 * 6, number % 10 * 6
        mark = images[number, :, top : top + 2, left : left + 2]
        mark.copy_(255 - mark)
    images[7] = images[93]
    table = correlations(images) + 9 * np.eye(100)
    assert np.quantile(table, 0.3) < 0.004  # as near as frames of a scene
    found = pairs_of(near_pairs([images], thumbnails([images]), every(images)))
    assert (7, 93) in found
    assert len(found) < 20


def test_flat_pictures_are_nobodys_copies() -> None:
    flat = torch.full((4, 3, 32, 32), 90, dtype=torch.uint8)
    flat[1] = 200
    vectors = thumbnails([flat])
    assert not vectors.any()
    assert near_pairs([flat], vectors, every(flat)) == []


def test_brightness_and_contrast_do_not_count_but_colour_does() -> None:
    picture = tensor_of(photographs(1, seed=3, side=32)).float()
    darker = (picture * 0.5 + 20).round()
    both = torch.cat([picture, darker]).to(torch.uint8)
    first, second = thumbnails([both])
    assert float(1 - first @ second) < 0.005
    assert first.norm().item() == pytest.approx(1, abs=1e-5)
    red, green = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    red[0, 8:24, 8:24] = green[1, 8:24, 8:24] = 200
    discs = torch.stack([red, green])
    assert near_pairs([discs], thumbnails([discs]), every(discs)) == []


def test_the_distance_of_two_vectors_is_one_less_their_correlation() -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-1.0, 0.0]])
    found = distances(vectors, torch.tensor([0, 0, 0, 0]), torch.tensor([0, 1, 2, 3]))
    assert found.tolist() == pytest.approx([0, 1, 0.4, 2])
    assert (
        distances(vectors, torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)).tolist()
        == []
    )
