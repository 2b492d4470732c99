"""Names of layers as a person reads them: assets/pad/layer_names.js in Python."""

import re
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from pellucid.assets import constants
from pellucid.language import Message, lazy_gettext, translate

FOLDED_FROM: int = constants("layers")["folded_from"]  # layers of which the inner ones of a stage are folded

NAMES: dict[str, Message] = {
    "resize": lazy_gettext("picture at the network's size"),
    "stem": lazy_gettext("first convolution"),
    "top": lazy_gettext("last convolution"),
    "pool": lazy_gettext("mean of each map"),
    "pool5": lazy_gettext("mean of each map of stage 5"),
    "pool6": lazy_gettext("mean of each map of stage 6"),
    "pool7": lazy_gettext("mean of each map of stage 7"),
    "head.dense": lazy_gettext("scores of the classes"),
}
PARTS: dict[str, Message] = {
    "expand": lazy_gettext("widened"),
    "depthwise": lazy_gettext("each map by itself"),
    "project": lazy_gettext("narrowed"),
    "sum": lazy_gettext("sum with what came in"),
    "conv1": lazy_gettext("first convolution"),
    "conv2": lazy_gettext("second convolution"),
    "shortcut": lazy_gettext("shortcut"),
}


class LayerGroup(NamedTuple):
    """Layers that follow each other: their indices, and the number of their stage, "" without one."""

    stage: str
    indices: list[int]


def layer_title(name: str) -> str:
    """ "stage 2, block 1: narrowed" for "backbone.stage2.0.project"; a name that is not known as it is."""
    key, _, run = name.removeprefix("backbone.").partition("#")
    again = f" ({run})" if run else ""
    parts = re.fullmatch(r"stage(\d+)\.(\d+)\.(\w+)", key)
    if parts is None:
        return f"{NAMES.get(key, key)}{again}"
    stage, block, part = parts.groups()
    title = translate(
        "stage %(stage)s, block %(block)s: %(part)s",
        stage=stage, block=int(block) + 1, part=PARTS.get(part, part),
    )  # fmt: skip
    return f"{title}{again}"


def grouped(names: Sequence[str]) -> list[LayerGroup]:
    """Layers by their names, those of a stage together where there are many."""

    def stage(index: int) -> str:
        found = re.match(r"(?:backbone\.)?stage(\d+)\.", names[index])
        return found[1] if found and len(names) >= FOLDED_FROM else f"_{index}"

    groups = [(key, list(indices)) for key, indices in groupby(range(len(names)), stage)]
    return [LayerGroup("" if key.startswith("_") else key, indices) for key, indices in groups]
