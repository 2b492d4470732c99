"""A figure's block holds the first of the pictures it counts, out of an image of its section's own."""

import torch

from pellucid.report.context import ReportContext
from pellucid.report.opened import PICTURES_PER_FIGURE, Counted, open_figures
from pellucid.report.templates import environment_of_pages
from tests.pages import Elements
from tests.report.sections import tile


def test_each_block_holds_the_first_pictures_of_its_figure(context: ReportContext) -> None:
    many, few = torch.arange(30, 10, -1), torch.tensor([30, 3])
    opened = open_figures(
        context,
        "slices",
        [
            Counted("many", "Many", many),
            Counted("none", "None", many[:0]),
            Counted("few", "Few", few, "--few", str),
        ],
    )
    assert opened.ids == {"many", "few"}
    first, second = opened.blocks
    assert [picture.index for picture, _ in first.pictures] == many[:PICTURES_PER_FIGURE].tolist()
    assert (first.count, second.count) == (20, 2)
    assert [(picture.index, note) for picture, note in second.pictures] == [(30, "30"), (3, "3")]
    for picture, _ in (*first.pictures, *second.pictures):
        assert picture.cell is not None
        pixels = torch.from_numpy(tile(opened.atlas, picture.cell)[..., 0].copy())
        assert torch.equal(pixels, context.splits.test.images[picture.index, 0])


def test_a_figure_leads_to_its_block_and_stays_text_without_one(context: ReportContext) -> None:
    opened = open_figures(context, "slices", [Counted("few", "<b>", torch.tensor([1, 2]), "--few", str)])
    macros = environment_of_pages().get_template("shared/parts.html").module
    assert str(macros.opens(opened, "few", "2")) == '<a href="#few">2</a>'  # type: ignore[attr-defined]
    assert str(macros.opens(opened, "none", "0")) == "0"  # type: ignore[attr-defined]
    page = Elements(str(macros.blocks(opened)))  # type: ignore[attr-defined]
    assert [a["id"] for a in page.of_class("opened")] == ["few"]
    assert [a["href"] for a in page.of_class("close")] == ["#slices"]
    assert len(page.of_class("a-slices")) == 2
    assert "<b>: --few" in page.text
