"""The section on whether the maps of evidence can be believed."""

from typing import Any

from pellucid.report.context import Material


def faithfulness(material: Material) -> dict[str, Any]:
    """What the tests say of every kind of map."""
    return {**material.tested, "examples": [why for why, _ in material.examples]}
