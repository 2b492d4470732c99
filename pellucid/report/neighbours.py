"""The section on the training pictures the network holds most like some test pictures."""

from typing import Any

from pellucid.explanation.faithfulness import PICTURES
from pellucid.explanation.neighbours import CAVEAT as NEIGHBOUR_CAVEAT
from pellucid.explanation.neighbours import index_sample, nearest, novelty
from pellucid.language import translate
from pellucid.plots.images import fitted_atlas, zoom
from pellucid.report.context import CHANGED, Material, cell, shown, telling_pictures, tile
from pellucid.report.evidence import affordable

ALIKE = 8
NEIGHBOUR_BUDGET = 130_000


def neighbours(material: Material) -> dict[str, Any]:
    """The training pictures the network holds most like some test pictures."""
    splits = material.splits
    share = affordable(material.run.classifier, material.splits.test) / PICTURES
    chosen = telling_pictures(material)[: max(2, int(CHANGED * share))]
    index = index_sample(material.run.classifier, splits.train, splits.validation)
    images = splits.test.images[[number for _, number in chosen]]
    alike, unlike = nearest(index, images, ALIKE), novelty(index, images)
    places = [one.index for row in alike for one in row]
    atlas = fitted_atlas(index.dataset.images[places], budget=NEIGHBOUR_BUDGET, side=64)
    rows = []
    for number, (why, test_index) in enumerate(chosen):
        told = tile(material, test_index)
        rows.append(
            {
                "why": why,
                "tile": told,
                "unlike": round(float(unlike[number])),
                "same": sum(one.label == told["true"] for one in alike[number]),
                "answered": sum(one.label == told["predicted"] for one in alike[number]),
                "alike": [
                    {
                        "place": cell(atlas, number * len(alike[number]) + rank),
                        "label": one.label,
                        "similarity": f"{one.similarity:.3f}",
                        "source": one.source,
                        "agrees": one.label == told["predicted"],
                    }
                    for rank, one in enumerate(alike[number])
                    if number * len(alike[number]) + rank < atlas.count
                ],
            }
        )
    return {
        **shown(material),
        "atlases": {"test": material.album.atlas, "alike": atlas},
        "large": zoom(atlas, 64),
        "test_large": zoom(material.album.atlas, 64),
        "rows": [row for row in rows if row["tile"]["place"]],
        "searched": len(index.dataset),
        "learned": len(splits.train),
        "strangest": max(rows, key=lambda row: row["unlike"])["unlike"] if rows else 0,
        "held_out": index.held_out,
        "remark": atlas.remark,
        "caveat": translate(NEIGHBOUR_CAVEAT),
    }
