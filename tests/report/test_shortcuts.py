"""The section shows each cue with what it sees, and warns of those that should not tell the class."""

from dataclasses import replace

import torch

from pellucid.data.dataset import Dataset, Splits
from pellucid.report import shortcuts
from pellucid.report.context import ReportContext
from tests.report.sections import drawn, tile


def planted(context: ReportContext) -> ReportContext:
    """The same pictures with a border pixel that tells the class."""

    def marked(dataset: Dataset) -> Dataset:
        images = dataset.images.clone()
        images[:, :, 0, :4] = 0
        images[torch.arange(len(dataset)), 0, 0, dataset.labels] = 255
        return replace(dataset, images=images)

    splits = Splits(*(marked(part) for _, part in context.splits.items()), context.splits.origin)
    return replace(context, all_splits=splits)


def test_a_planted_pixel_is_warned_of_as_a_cue_and_no_proof(context: ReportContext) -> None:
    record = shortcuts.gather(planted(context))
    assert "border pixels" in [cue.title for cue in record.suspicious]
    answer, body = drawn("shortcuts", record)
    assert "not proof that the network uses it" in answer
    assert "border pixels" in answer
    assert "Not tried: facts of the files" in body


def test_every_figure_stands_beside_pictures_as_the_cue_sees_them(context: ReportContext) -> None:
    record = shortcuts.gather(context)
    found = context.shortcuts
    first = context.splits.test.images[found.indices[0]]
    whole = tile(record.atlases["shortcuts"], record.network.pictures[0].cell)[..., 0]
    assert abs(int(whole[8, 8]) - int(first[0, 8, 8])) <= 8
    for row, view in zip(record.parts, found.views, strict=True):
        assert row.count == view.count
        assert [picture.correct for picture in row.pictures] == view.hits[: len(row.pictures)].tolist()
    colour = next(cue for cue in record.cues if cue.title == "brightness")
    pixels = tile(record.atlases["shortcuts"], colour.pictures[0].cell)
    assert pixels.std() < 2
    assert abs(float(pixels.mean()) - float(first.float().mean())) < 9
