"""The command that writes pictures to try the others with: samples."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.options import AsJson, Quiet
from pellucid.cli.output import Output
from pellucid.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

EXAMPLES = """\
Examples:
  pellucid samples                then: pellucid train ./photos
  pellucid samples elsewhere      then: pellucid train elsewhere/photos
"""

PHOTOS = "photos"
PHOTOS_PER_CLASS = 60
PHOTO_SIDES = (24, 28, 32)  # pixels, in turn: pictures of your own rarely have one size
LOOSE = {"three.png": 3, "four.png": 4, "seven.png": 7}


def samples(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write; here unless given.")] = (
        Path()
    ),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write sample pictures to try the other commands with.

    photos/ holds 600 handwritten digits in ten folders, one per class, as your own pictures might lie there.
    three.png, four.png and seven.png are not among them: predict and explain those. All come from the data
    set 'digits' that comes with pellucid. Nothing that exists is overwritten.
    """
    from pellucid.data import load
    from pellucid.files import make_folder, write_bytes

    paths = [folder / name for name in (PHOTOS, *LOOSE)]
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"'{folder}' is a file. Expected a folder to write into.")
    existing = [str(path) for path in paths if path.exists()]
    if existing:
        raise UsageError(
            f"'{existing[0]}' is there already and is not overwritten. Name another folder: "
            "pellucid samples FOLDER"
        )
    splits = load("digits")
    train, test = splits.train, splits.test
    for label, name in enumerate(train.classes):
        make_folder(folder / PHOTOS / name)
        chosen = train.images[train.labels == label][:PHOTOS_PER_CLASS]
        for number, image in enumerate(chosen, 1):
            large = _enlarged(image, PHOTO_SIDES[number % len(PHOTO_SIDES)])
            write_bytes(folder / PHOTOS / name / f"{number:03}.png", _png(large))
    for file, label in LOOSE.items():
        write_bytes(folder / file, _png(test.images[test.labels == label][0]))
    output = Output(quiet, as_json)
    for path in paths:
        output.object({"path": str(path)})
    output.line(f"Written: {', '.join(map(str, paths))}")


def _enlarged(image: "Tensor", side: int) -> "Tensor":
    """A picture (1, 8, 8) of `side` pixels, smooth between those it has."""
    from torch.nn.functional import interpolate

    large = interpolate(image[None].float(), size=(side, side), mode="bicubic")[0]
    return large.round().clamp(0, 255).byte()


def _png(image: "Tensor") -> bytes:
    """A gray picture (1, H, W) as a PNG file."""
    from pellucid.plots.images import encoded_png

    return encoded_png(image[0].numpy())
