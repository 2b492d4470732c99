"""Each box of annotations as a picture of its own: COCO's and Pascal VOC's objects, cut out."""

import math
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence

from pellucid.data.sources.annotations import Mark, coco_layout, coco_marks, voc_marks, without_annotation
from pellucid.data.sources.listing import Content, Picture, RawListing, natural_key
from pellucid.data.sources.tree import Tree
from pellucid.decode.boxes import MARGIN, Box, cut_out
from pellucid.decode.images import StoredImage, decode_stored
from pellucid.decode.workers import UNNAMED
from pellucid.errors import UsageError
from pellucid.formatting import listed
from pellucid.language import Message, lazy_gettext, lazy_ngettext

NO_BOX = Box(0, 0, 0, 0)


def list_coco_boxes(tree: Tree, names: list[str]) -> RawListing:
    """The boxes of COCO's annotations, each with its category. Boxes around a crowd are left out."""
    return _listing(tree, coco_layout(names), coco_marks(tree, names))


def list_voc_boxes(tree: Tree, names: list[str]) -> RawListing:
    """The boxes of Pascal VOC's annotations, each with the name of its object."""
    return _listing(tree, lazy_gettext("Pascal VOC annotations"), voc_marks(tree, names))


class _BoxReader:
    """Reads boxes by number. Each thread keeps the picture it read last: the next box is often on it."""

    def __init__(self, tree: Tree, boxes: Sequence[tuple[str, Box]], labels: Mapping[int, set[str]]) -> None:
        self.tree = tree
        self.boxes = boxes
        self.labels = labels
        self.last = threading.local()

    def read(self, index: int) -> Content:
        """What is in the box. Raises UsageError, saying why, where there is nothing to be seen."""
        file, box = self.boxes[index]
        if len(self.labels[index]) > 1:
            classes = listed(sorted(self.labels[index]))
            raise UsageError(f"{UNNAMED} is a box of several classes: {classes}.")
        return cut_out(self._decoded(file), box, name=UNNAMED)

    def stamp(self, index: int) -> str:
        """That of the file, with all that decides what is cut out of it but is not in the source."""
        file, box = self.boxes[index]
        stamp = self.tree.stamp(file)
        return stamp and f"{stamp}-{box.drawn_on}-{MARGIN}-{sorted(self.labels[index])}"

    def _decoded(self, file: str) -> StoredImage:
        key = (file, self.tree.stamp(file))
        if getattr(self.last, "key", None) != key:
            self.last.key = self.last.image = None  # first: never two of them in memory
            self.last.image = decode_stored(self.tree.read(file), name=UNNAMED)
            self.last.key = key
        image: StoredImage = self.last.image
        return image


def _listing(tree: Tree, layout: Message, marks: Sequence[Mark]) -> RawListing:
    labels: dict[tuple[str, Box], set[str]] = defaultdict(set)
    splits: dict[str, str] = {}
    for mark in marks:
        if not mark.crowd:
            labels[mark.file, _box(mark)].add(mark.label)
            splits[mark.file] = mark.split
    if not labels:
        raise UsageError(f"The annotations of '{tree.name}' have no box around a single object.")
    boxes = sorted(labels, key=lambda each: (natural_key(each[0]), each[1]))
    if all(box[:4] == NO_BOX[:4] for _, box in boxes):
        raise UsageError(
            f"The annotations of '{tree.name}' name classes but no boxes. Leave `crop_boxes` out: the "
            "pictures are then read as a whole."
        )
    pictures = [
        Picture(f"{file}#{','.join(map(str, box[:4]))}", min(labels[file, box]), splits[file], file)
        for file, box in boxes
    ]
    reader = _BoxReader(tree, boxes, {index: labels[each] for index, each in enumerate(boxes)})
    notes = [
        *tree.notes,
        lazy_gettext(
            "each box is a picture, with a margin of %(percent)s %% of its sides around it; the boxes of one "
            "picture (%(files)s pictures) stay in one part",
            percent=round(100 * MARGIN),
            files=len(splits),
        ),
        lazy_gettext("what is learned are objects cut out like that: predict them, not whole pictures"),
        *without_annotation(tree, len({mark.file for mark in marks})),
    ]
    if crowds := sum(mark.crowd for mark in marks):
        notes.append(
            lazy_ngettext(
                "skipped %(count)s box around a crowd", "skipped %(count)s boxes around a crowd", crowds
            )
        )
    return RawListing(layout, pictures, reader.read, reader.stamp, tuple(notes))


def _box(mark: Mark) -> Box:
    """The box in whole pixels that has all of the mark's; an empty one where there is none."""
    if not mark.sides or not all(map(math.isfinite, mark.sides)):
        return NO_BOX._replace(drawn_on=mark.size)
    left, top, right, bottom = mark.sides
    return Box(math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom), mark.size)
