"""The section counts the test pictures that are unlike anything taught, as the run itself does."""

from dataclasses import replace

import torch

from pellucid.evaluation.novelty import NOT_HELD_OUT, ReferenceFit
from pellucid.report import novelty
from pellucid.report.context import ReportContext
from tests.report.sections import drawn, rendered, tile, words


def test_the_counts_are_those_of_the_run_and_the_most_unlike_come_first(context: ReportContext) -> None:
    section, found = novelty.gather(context), context.run.novelty(context.splits.test)
    right = context.evaluation.right
    assert (section.looked, section.unlike) == (len(context.splits.test), int(found.unlike.sum()))
    assert section.low <= section.share <= section.high
    for part, chosen in ((section.among_unlike, found.unlike), (section.among_others, ~found.unlike)):
        if part is not None:
            assert (part.count, part.wrong) == (int(chosen.sum()), int((~right[chosen]).sum()))
    order = [each.picture.index for each in section.pictures]
    expected = found.distances.argsort(descending=True, stable=True)[: section.unlike].tolist()
    assert order == expected
    for each in section.pictures[:3]:
        pixels = tile(section.atlases["unlike"], each.picture.cell)  # type: ignore[arg-type]
        shown = context.splits.test.images[each.picture.index]
        assert torch.equal(torch.from_numpy(pixels[..., 0].copy()), shown[0])


def test_every_count_of_the_table_leads_to_such_pictures(context: ReportContext) -> None:
    section, body = novelty.gather(context), str(rendered(context, "novelty").body)
    found, right = context.run.novelty(context.splits.test), context.evaluation.right
    assert section.opened is not None
    chosen = {
        "unlike-wrong": found.unlike & ~right,
        "like": ~found.unlike,
        "like-wrong": ~found.unlike & ~right,
    }
    assert section.opened.ids == {name for name, those in chosen.items() if those.any()}
    for block in section.opened.blocks:
        assert block.count == int(chosen[block.id].sum())
        assert all(bool(chosen[block.id][picture.index]) for picture, _ in block.pictures)
        assert f'href="#{block.id}"' in body


def test_the_page_gives_the_share_with_its_interval_and_what_is_usual(context: ReportContext) -> None:
    section, shown = novelty.gather(context), rendered(context, "novelty")
    answer = words(str(shown.answer))
    assert f"{section.unlike} of {section.looked} test pictures" in answer
    assert "95 % interval" in answer
    assert "where about 5 % are usual." in answer
    assert 'href="#unlike-pictures"' in answer
    assert 'id="unlike-pictures"' in words(str(shown.body))
    assert "<code>--refuse-unlike</code>" in words(str(shown.body))


def test_a_run_that_cannot_tell_says_why(context: ReportContext) -> None:
    fit = ReferenceFit(0, 0, NOT_HELD_OUT)
    section = novelty.gather(replace(context, run=replace(context.run, reference_fit=fit)))
    answer, body = drawn("novelty", section)
    assert answer == (
        "It cannot be told which test pictures are unlike anything taught: no picture was held out of the "
        "training that gave the weights."
    )
    assert body == ""
