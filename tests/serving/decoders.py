"""What the tests of decoding strangers' pictures share: how its processes are known, files of every kind."""

import struct
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from pellucid.decode.process import command
from pellucid.errors import UsageError
from pellucid.serving import limits
from tests.stored import stored

DECODER_COMMAND = command("pellucid.serving.received", limits.DECODE_BYTES)
HEIGHT, WIDTH = 37, 29
ON_ITS_SIDE = {0x0112: 6}


def pictures() -> Iterator[tuple[str, bytes]]:
    """(name, file) of small pictures in every way that one is stored, and of files that are none."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    colour, gray = Image.fromarray(pixels), Image.fromarray(pixels[..., 0])
    opacity = Image.fromarray(pixels[..., 1])
    clear, clear_gray, palette = colour.copy(), gray.copy(), colour.quantize(40)
    clear.putalpha(opacity)
    clear_gray.putalpha(opacity)
    deep = random.integers(0, 65_536, (HEIGHT, WIDTH)).astype(np.uint16)
    yield "colour", stored(colour, "PNG")
    yield "on its side", stored(colour, "PNG", exif=turned())
    yield "JPEG on its side", stored(colour, "JPEG", exif=turned())
    yield "gray", stored(gray, "PNG")
    yield "one bit", stored(gray.convert("1"), "PNG")
    yield "transparent", stored(clear, "PNG", exif=turned())
    yield "transparent WebP", stored(clear, "WEBP", lossless=True)
    yield "transparent gray", stored(clear_gray, "PNG")
    yield "one colour transparent", stored(colour, "PNG", transparency=tuple(pixels[3, 4].tolist()))
    yield "one gray transparent", stored(gray, "PNG", transparency=int(pixels[3, 4, 0]))
    yield "palette", stored(palette, "PNG")
    yield "transparent palette", stored(palette, "PNG", transparency=bytes(range(0, 240, 6)))
    yield "animated", stored(palette, "GIF", save_all=True, append_images=[palette.rotate(90)])
    yield "16 bits", stored(Image.fromarray(deep), "PNG")
    yield "16 bits, the other way", _big_endian(deep)
    yield "16 bits, PGM", b"P5 %d %d 65535\n" % (WIDTH, HEIGHT) + deep.astype(">u2").tobytes()
    yield "CMYK", stored(colour.convert("CMYK"), "JPEG")
    yield "bitmap", stored(colour, "BMP")
    yield "cut off", stored(colour, "PNG")[:300]
    yield "text", b"no picture"


def turned() -> Image.Exif:
    """What a camera that was held on its side writes."""
    exif = Image.Exif()
    exif.update(ON_ITS_SIDE)
    return exif


def outcome(work: Callable[[], bytes]) -> bytes | str:
    """The pixels, or what the error says."""
    try:
        return work()
    except UsageError as error:
        return str(error)


def _big_endian(deep: np.ndarray) -> bytes:
    """A TIFF file whose 16-bit numbers begin with the higher byte."""
    content = deep.astype(">u2").tobytes()
    short = 1 << 16  # a short stands in the upper half of its field
    fields = [(256, 4, WIDTH), (257, 4, HEIGHT), (258, 3, 16 * short), (259, 3, short), (262, 3, short),
              (273, 4, 14 + 12 * 8), (278, 4, HEIGHT), (279, 4, len(content))]  # fmt: skip
    listed = b"".join(struct.pack(">HHII", tag, kind, 1, value) for tag, kind, value in fields)
    return b"MM\0*" + struct.pack(">IH", 8, len(fields)) + listed + bytes(4) + content
