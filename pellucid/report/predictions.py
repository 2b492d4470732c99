"""The section with the first test pictures as they come."""

from typing import Any

from pellucid.report.context import FIRST, Material, shown, tile


def predictions(material: Material) -> dict[str, Any]:
    """The first test pictures as they come."""
    tiles = [tile(material, index) for index in range(min(FIRST, material.evaluation.count))]
    return {
        **shown(material),
        "tiles": [tile for tile in tiles if tile["place"]],
        "right": sum(tile["right"] for tile in tiles),
    }
