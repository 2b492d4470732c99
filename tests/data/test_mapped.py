"""Pictures in a file have the face of a tensor, and are read only when they are asked for."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.data import mapped as rows_module
from pellucid.data.dataset import Dataset, content_hashes, split
from pellucid.data.mapped import MappedFile, MappedImages, in_blocks
from pellucid.errors import PellucidError
from pellucid.inference import fixed_batches, scaled

R, SHAPE = 40, (3, 5, 4)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (R, *SHAPE), np.uint8)


@pytest.fixture
def mapped(pixels: np.ndarray, tmp_path: Path) -> MappedImages:
    """Thirty of forty rows, in another order than they lie there, one of them twice."""
    path = tmp_path / "pixels"
    path.write_bytes(pixels.tobytes())
    chosen = np.random.default_rng(1).permutation(R)[:30]
    chosen[7] = chosen[3]
    dataset = Dataset(torch.from_numpy(pixels), torch.zeros(R, dtype=torch.int64), ("a",), [""] * R)
    contents = np.frombuffer(b"".join(content_hashes(dataset)), np.uint8).reshape(R, 16)
    with path.open("rb") as file:
        return MappedImages(MappedFile(file, (R, *SHAPE)), chosen, contents)


@pytest.fixture
def plain(mapped: MappedImages, pixels: np.ndarray) -> Tensor:
    """The same pictures in memory."""
    return torch.from_numpy(pixels[mapped.rows])


INDICES: list[Any] = [
    0, -1, 29, slice(None), slice(3, 9), slice(20, 99), slice(None, None, 7), slice(5, 5),
    torch.tensor([4, 4, 29, 0]), torch.tensor([], dtype=torch.int64), torch.tensor(3), [1, 2, -3],
    torch.arange(30) % 3 == 0, np.array([2, 8]), (torch.tensor([1, 2]), 0), (slice(2, 5), slice(0, 1)),
    (3, 1), (3, slice(None), 2), (slice(None), 0), (torch.tensor([0, 1, 2]), torch.tensor([0, 1, 2])),
    (Ellipsis, 0), None, torch.tensor([[0, 1], [2, 3]]), (0,), (),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_an_index_gives_what_it_gives_on_a_tensor(mapped: MappedImages, plain: Tensor, index: Any) -> None:
    assert torch.equal(mapped[index], plain[index])
    assert type(mapped[index]) is Tensor


@pytest.mark.parametrize("index", [30, -31, torch.tensor([30])], ids=str)
def test_an_index_that_is_not_there_is_an_error(mapped: MappedImages, index: Any) -> None:
    with pytest.raises(IndexError):
        mapped[index]


OPERATIONS: list[Callable[[Tensor], Any]] = [
    lambda images: images / 255,
    lambda images: images.float().mean(dim=0),
    lambda images: torch.from_numpy(images.numpy()),
    lambda images: torch.from_numpy(np.asarray(images)),
    lambda images: images.flatten(1).contiguous(),
    lambda images: torch.cat([images, images]),
    lambda images: torch.stack(list(images)),
    lambda images: torch.zeros(images.shape).copy_(images),
    lambda images: scaled(images),
    lambda images: torch.stack([batch for _, batch, _ in fixed_batches(images)]),
    lambda images: torch.cat(list(in_blocks(images))),
    lambda images: images.permute(0, 2, 3, 1),
    lambda images: images.unsqueeze(0),
    lambda images: images == 3,
    lambda images: torch.cat(torch.split(images, 8)),
]


@pytest.mark.parametrize("number", range(len(OPERATIONS)))
def test_any_operation_gives_what_it_gives_on_a_tensor(
    mapped: MappedImages, plain: Tensor, number: int
) -> None:
    assert torch.equal(OPERATIONS[number](mapped), OPERATIONS[number](plain))


def test_it_tells_of_itself_without_reading(mapped: MappedImages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "source", None)
    assert (len(mapped), mapped.shape, mapped.dtype, mapped.dim()) == (30, (30, *SHAPE), torch.uint8, 4)
    assert (mapped.numel(), mapped.size(1), mapped.ndim) == (30 * 60, 3, 4)
    assert repr(mapped) == "MappedImages((30, 3, 5, 4), uint8, read when asked for)"
    assert isinstance(mapped, Tensor)


def test_only_the_pictures_asked_for_are_read(mapped: MappedImages, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    source = mapped.source

    class Counting:
        pixels = source.pixels

        def read(self, rows: np.ndarray) -> np.ndarray:
            read.extend(rows.tolist())
            return source.read(rows)

    monkeypatch.setattr(mapped, "source", Counting())
    mapped[torch.tensor([2, 5])]
    mapped[7]
    mapped.at(torch.tensor([1]))[0]
    (mapped[3:5, 0], mapped[[6], :, 1:2])
    mapped.index_select(0, torch.tensor([9, 8]))
    assert read == mapped.rows[[2, 5, 7, 1, 3, 4, 6, 9, 8]].tolist()


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_a_selection_gives_what_it_gives_on_a_tensor(mapped: MappedImages, plain: Tensor, dim: int) -> None:
    chosen = torch.tensor([2, 0, 2])
    assert torch.equal(mapped.index_select(dim, chosen), plain.index_select(dim, chosen))
    assert torch.equal(torch.index_select(mapped, dim, chosen), plain.index_select(dim, chosen))


@pytest.mark.parametrize(
    "change",
    [lambda i: i.fill_(1), lambda i: i.__setitem__(0, 1), lambda i: i.add_(1), lambda i: i[0:2].zero_()],
)
def test_nothing_changes_what_lies_in_the_file(mapped: MappedImages, plain: Tensor, change: Any) -> None:
    try:
        change(mapped)
    except TypeError as error:
        assert "read only" in str(error)  # noqa: PT017
    assert torch.equal(mapped.whole(), plain)


def test_a_dataset_of_rows_is_the_dataset(mapped: MappedImages, plain: Tensor) -> None:
    labels = torch.arange(30) % 2
    sources = [f"{n}.png" for n in range(30)]
    there, here = (Dataset(images, labels, ("a", "b"), sources) for images in (mapped, plain))
    assert there.fingerprint == here.fingerprint
    assert content_hashes(there) == content_hashes(here)
    assert content_hashes(there, key=b"k") == content_hashes(here, key=b"k")
    for ours, theirs in zip(split(there), split(here), strict=True):
        assert isinstance(ours.images, MappedImages)
        assert ours.fingerprint == theirs.fingerprint
        assert ours.sources == theirs.sources


def test_known_hashes_are_not_computed_again(mapped: MappedImages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "source", None)
    dataset = Dataset(mapped, torch.zeros(30, dtype=torch.int64), ("a",), [""] * 30)
    assert len(content_hashes(dataset)) == 30


def test_pages_that_were_read_are_given_back(
    mapped: MappedImages, plain: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "RESIDENT_BYTES", 3 * rows_module.READ_AROUND_BYTES)
    for n in [*range(30), *range(30)]:
        assert torch.equal(mapped[n], plain[n])
        assert mapped.source.touched <= 3 * rows_module.READ_AROUND_BYTES  # type: ignore[union-attr]


def test_in_blocks_never_holds_more_than_a_block(
    monkeypatch: pytest.MonkeyPatch, mapped: MappedImages
) -> None:
    monkeypatch.setattr(rows_module, "BLOCK_BYTES", 600)
    assert [len(block) for block in in_blocks(mapped)] == [10, 10, 10]


def test_an_empty_choice_is_an_empty_dataset(mapped: MappedImages) -> None:
    nothing = mapped.at(torch.tensor([], dtype=torch.int64))
    dataset = Dataset(nothing, torch.tensor([], dtype=torch.int64), ("a",), [])
    assert (len(dataset), dataset.size, len(dataset.fingerprint)) == (0, (5, 4), 64)
    assert io.StringIO(repr(nothing)).read().startswith("MappedImages((0, 3, 5, 4)")


@pytest.mark.parametrize("size", [0, 1, R * 60 - 1])
def test_a_file_that_was_shortened_is_refused_and_the_process_goes_on(
    mapped: MappedImages, tmp_path: Path, size: int
) -> None:
    """Touching a page that is no longer there ends a process without a word."""
    os.truncate(tmp_path / "pixels", size)
    for read in (lambda: mapped[[29]], mapped.whole, lambda: mapped.float().mean()):
        with pytest.raises(
            PellucidError, match=rf"pixels', which .* was shortened from 2,400 to {size:,} bytes"
        ):
            read()
