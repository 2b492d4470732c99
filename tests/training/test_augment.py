"""Augmentations keep shape and kind, draw from their generator alone, and change what they say."""

import pytest
import torch
from torch import Tensor

from pellucid.data import DATASETS
from pellucid.errors import UsageError
from pellucid.training.augment import (
    AUGMENTATIONS,
    apply_augmentations,
    default_augmentations,
    in_table_order,
    parse_augmentations,
)

CLASSES = 5
MIXED = [name for name, way in AUGMENTATIONS.items() if way.mix is not None]


def batch(count: int = 12, channels: int = 3, height: int = 20, width: int = 16) -> tuple[Tensor, Tensor]:
    """Smooth pictures, bright at a place of their own, float 0..1; and labels."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, channels, 5, 4, generator=generator)
    images = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return images, torch.arange(count) % CLASSES


def changed(images: Tensor, labels: Tensor, *names: str, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return apply_augmentations(images, labels, names, classes=CLASSES, generator=generator)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", [(3, 20, 16), (1, 8, 8), (4, 5, 9), (1, 1, 1)])
def test_shape_kind_and_range_stay_and_the_batch_handed_in_is_not_touched(
    name: str, kind: torch.dtype, shape: tuple[int, int, int]
) -> None:
    images, labels = batch(6, *shape)
    images = (images * 255).to(torch.uint8) if kind == torch.uint8 else images
    before = images.clone()
    found, targets = changed(images, labels, name)
    assert (found.shape, found.dtype) == (images.shape, kind)
    assert torch.equal(images, before)
    assert float(found.float().min()) >= 0
    assert float(found.float().max()) <= (255 if kind == torch.uint8 else 1 + 1e-6)
    assert bool(found.isfinite().all())
    assert len(targets) == len(labels)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_generator_decides_everything_and_torchs_own_is_left_alone(name: str) -> None:
    images, labels = batch()
    state = torch.random.get_rng_state()
    first, targets = changed(images, labels, name)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(13)
    again, same = changed(images, labels, name)
    assert torch.equal(first, again)
    assert torch.equal(targets, same)
    assert not torch.equal(first, changed(images, labels, name, seed=2)[0])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_labels_are_kept_and_what_is_mixed_is_shared_out(name: str) -> None:
    images, labels = batch()
    _, targets = changed(images, labels, name)
    if name not in MIXED:
        assert targets is labels
        return
    assert targets.shape == (len(labels), CLASSES)
    assert torch.allclose(targets.sum(dim=1), torch.ones(len(labels)))
    assert float(targets.min()) >= 0
    assert bool(((targets > 0).sum(dim=1) <= 2).all())


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_picture_has_draws_of_its_own(name: str) -> None:
    images, _ = batch(1)
    images = images.expand(16, -1, -1, -1).clone()
    images[8:] = 1 - images[8:]  # else a picture mixed with itself would not change
    found, _ = changed(images, torch.arange(16) // 8, name)
    kinds = {tuple(picture.flatten().tolist()) for picture in found}
    assert len(kinds) >= (4 if name == "flip" else 6)


def test_several_act_in_the_tables_order_whatever_order_they_are_named_in() -> None:
    images, labels = batch()
    one, other = (
        changed(images, labels, "flip", "shift", "crop"),
        changed(images, labels, "crop", "flip", "shift"),
    )
    assert torch.equal(one[0], other[0])
    assert in_table_order(["colour", "flip", "flip"]) == ["flip", "colour"]
    assert changed(images, labels)[0] is images


def test_shift_turn_and_scale_together_are_one_interpolation(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = batch()
    calls: list[int] = []
    sample = torch.nn.functional.grid_sample
    monkeypatch.setattr(
        torch.nn.functional,
        "grid_sample",
        lambda *arguments, **words: (calls.append(1), sample(*arguments, **words))[1],
    )
    changed(images, labels, "shift", "turn", "scale")
    assert len(calls) == 1


def test_flipped_pictures_are_mirrored_left_for_right_and_about_half_of_them_are() -> None:
    images, labels = batch(400)
    found, _ = changed(images, labels, "flip")
    kept = (found == images).flatten(1).all(dim=1)
    mirrored = (found == images.flip(3)).flatten(1).all(dim=1)
    assert bool((kept ^ mirrored).all())
    assert 160 < int(mirrored.sum()) < 240


def test_a_cropped_picture_is_moved_by_whole_pixels() -> None:
    images, labels = batch(50)
    found, _ = changed(images, labels, "crop")
    for one, was in zip(found, images, strict=True):
        height, width = was.shape[1:]
        padded = torch.nn.functional.pad(was[None], (2, 2, 2, 2), mode="reflect")[0]
        places = [(top, left) for top in range(5) for left in range(5)]
        assert any(
            torch.equal(one, padded[:, top : top + height, left : left + width]) for top, left in places
        )


def test_a_turned_picture_keeps_its_proportions_when_it_is_not_square() -> None:
    images = torch.zeros(40, 1, 40, 20)
    images[:, :, 10:30, 9:11] = 1  # a post 20 pixels high
    found, _ = changed(images, torch.zeros(40, dtype=torch.int64), "turn")
    assert torch.allclose(found.sum(dim=(1, 2, 3)), images.sum(dim=(1, 2, 3)), rtol=0.03)
    rows = (found.amax(dim=3)[:, 0] > 0.5).sum(dim=1)
    assert 18 <= int(rows.min()) <= int(rows.max()) <= 21
    assert not torch.equal(found, images)


def test_a_shifted_picture_is_where_the_draw_says() -> None:
    images = torch.zeros(60, 1, 30, 30)
    images[:, :, 14:16, 14:16] = 1
    found, _ = changed(images, torch.zeros(60, dtype=torch.int64), "shift")
    weights = found[:, 0] / found[:, 0].sum(dim=(1, 2), keepdim=True)
    centres = (weights.sum(dim=2) * (torch.arange(30) + 0.5)).sum(dim=1)
    assert float((centres - 15).abs().max()) <= 3 + 1e-3
    assert float(centres.std()) > 1


def test_gray_pictures_stay_gray_when_coloured_and_erased() -> None:
    images, labels = batch(channels=1)
    gray = images.expand(-1, 3, -1, -1)
    for name in ("colour", "erase"):
        found, _ = changed(gray, labels, name)
        assert torch.allclose(found[:, 0], found[:, 1], atol=1e-5)
        assert torch.allclose(found[:, 0], found[:, 2], atol=1e-5)


def test_a_cut_in_piece_has_the_share_that_the_target_says() -> None:
    images = torch.zeros(30, 1, 16, 16)
    images[15:] = 1
    labels = torch.arange(30) // 15
    found, targets = changed(images, labels, "cutmix")
    bright = found.mean(dim=(1, 2, 3))
    assert torch.allclose(bright, targets[:, 1], atol=1e-6)


def test_of_two_ways_to_mix_one_is_drawn() -> None:
    images, labels = batch()
    either = [changed(images, labels, "mixup", "cutmix", seed=seed)[1] for seed in range(8)]
    assert all(bool(((targets > 0).sum(dim=1) <= 2).all()) for targets in either)


def test_an_unknown_augmentation_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"Unknown augmentation 'filp'\. Did you mean 'flip'\?"):
        parse_augmentations("crop,filp")


@pytest.mark.parametrize("text", ["", ",", "auto", "none,flip"])
def test_what_is_no_list_of_augmentations_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="Expected augment as auto, none or names joined by commas"):
        parse_augmentations(text)


def test_none_and_names_with_spaces_are_understood() -> None:
    assert parse_augmentations("none") == []
    assert parse_augmentations("flip, crop") == ["crop", "flip"]


@pytest.mark.parametrize("name", DATASETS)
def test_no_known_data_set_is_changed_into_something_else(name: str) -> None:
    allowed = parse_augmentations(DATASETS[name].augment)
    if DATASETS[name].classes[0] == "0":
        assert not {"flip", "turn", "cutmix", "mixup"} & set(allowed)


def test_unknown_gray_pictures_may_be_letters_and_are_never_mirrored() -> None:
    assert "flip" not in parse_augmentations(default_augmentations(1))
    assert "flip" in parse_augmentations(default_augmentations(3))


def test_every_augmentation_is_one_function_and_says_what_it_does() -> None:
    for way in AUGMENTATIONS.values():
        assert sum(part is not None for part in (way.affine, way.change, way.mix)) == 1
        assert 10 < len(way.phrase) < 90
