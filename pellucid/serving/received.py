"""A picture file as networks receive it, here or in a process with limits of its own that loads no torch.

The process reads requests on its standard input and answers on its standard output:

    start     an empty line, once everything is loaded
    request   a line of JSON, [[settings and rule of form 1], ...] and the size of the file; then the file
    response  a line of JSON, the reason why there are no pixels or ""; then the pixels, if there are any
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import astuple
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from pellucid.decode.images import NEEDS_MEMORY, DecodeSettings, decode_image, to_pixels
from pellucid.decode.process import started_by
from pellucid.errors import UsageError

if TYPE_CHECKING:
    from pellucid.pad.strokes import Rule

NAME = "The picture"  # what errors call it
REASON_CHARACTERS = 1_000  # of a response, at most


class Form(NamedTuple):
    """How a network receives a picture file.

    settings  as `Preprocess.decode_settings` returns them
    rule      writing on paper of another size is placed by it, as the pictures of its data set are
    """

    settings: DecodeSettings
    rule: "Rule | None" = None

    @property
    def size(self) -> int:
        """Of its pixels, in bytes."""
        return prod(self.settings[:3])


def received(content: bytes, forms: Sequence[Form]) -> bytes:
    """The pixels (C, H, W) of each form of a picture file, one after the other.

    Raises UsageError for what is no picture, is too large, or would have to be made to fit where `fit` is
    "none".
    """
    pixels = {form: _received(content, form) for form in dict.fromkeys(forms)}
    return b"".join(pixels[form] for form in forms)


def _received(content: bytes, form: Form) -> bytes:
    settings = form.settings
    if form.rule is not None:
        gray = decode_image(content, 0, name=NAME).convert("L")
        if gray.size != (settings.width, settings.height):
            import numpy as np  # slow to import, and few networks read writing

            from pellucid.pad.strokes import as_ink, place_picture

            return place_picture(as_ink(np.asarray(gray)), form.rule).tobytes()
    image = decode_image(content, settings.background, white=settings.white, name=NAME)
    return to_pixels(image, settings, name=NAME)


def request_line(forms: Sequence[Form], size: int) -> bytes:
    """The first line of a request for the forms of a file of `size` bytes."""
    listed = [[form.settings, None if form.rule is None else astuple(form.rule)] for form in forms]
    return json.dumps([listed, size]).encode() + b"\n"


# What runs in the process


def serve(parent: int, memory: int) -> None:
    """Answer requests until the input ends or the process `parent` does, with so many bytes of memory."""
    requests, responses = started_by(parent)
    _limit(memory)
    responses.write(b"\n")
    responses.flush()
    while line := requests.readline():
        listed, size = json.loads(line)
        forms = [Form(DecodeSettings(*settings), _rule(rule)) for settings, rule in listed]
        content, reason, pixels = requests.read(size), "", b""
        try:
            pixels = received(content, forms)
        except UsageError as error:
            reason = str(error)[:REASON_CHARACTERS]
        except MemoryError:
            reason = f"{NAME} takes {NEEDS_MEMORY}. Make it smaller first."
        responses.write(json.dumps(reason).encode() + b"\n")
        responses.write(pixels)
        responses.flush()
        del content, pixels  # not kept until the next request


def _rule(values: Sequence[object] | None) -> "Rule | None":
    if values is None:
        return None
    from pellucid.pad.strokes import Rule

    size, box, pen, centre = values
    return Rule(size, tuple(box), pen, centre)  # type: ignore[arg-type]


def _limit(memory: int) -> None:
    """Nothing can be written, and no more memory had: on Linux, for macOS does not keep to such a limit."""
    sys.dont_write_bytecode = True
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # NumPy would ask for memory for each core
    if sys.platform != "win32":
        import resource  # exists only on POSIX systems

        # Linux counts what can be written; the address space has also what threads of decoders only reserve.
        kind = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
        for limit, value in ((kind, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
            _, highest = resource.getrlimit(limit)
            value = value if highest == resource.RLIM_INFINITY else min(value, highest)
            resource.setrlimit(limit, (value, value))
