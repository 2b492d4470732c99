"""The map of pictures says what it keeps, and rings every mistake."""

import re

from pellucid.report import embedding
from pellucid.report.context import ReportContext
from tests.pages import section


def test_the_map_shows_the_share_of_neighbours_kept_and_rings_every_mistake(
    context: ReportContext, page: str
) -> None:
    section_, shown = embedding.gather(context), section(page, "embedding")
    assert section_.mistakes == len(context.evaluation.mistakes)
    assert shown.count('class="px a-map wrong"') == 2 * section_.mistakes
    assert shown.count('class="px a-map') == 2 * section_.count
    assert all(0 <= x <= 1000 and 0 <= y <= 1000 for each in section_.maps for x, y in each.positions)
    for each in section_.maps:
        assert re.search(rf"{each.title}</b> keeps {100 * each.preserved:.1f}", shown)
