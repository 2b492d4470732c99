"""What is written down beside a file of pixels: which content lies in which row, and check sums."""

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pellucid import files

PASSING = "passing: "  # begins the reason of a failure that is none of the picture's content
CHANGED = f"{PASSING}has changed while it was being read. Run the command again."


class Row(NamedTuple):
    """One content: the reason why it is no picture, or "", the hash of its pixels, its sketch, and they.

    The pixels are (C, H, W); the sketch is of the picture as it was before it was made into them.
    """

    digest: str
    reason: str
    content: bytes = b""
    sketch: bytes = b""
    pixels: NDArray[np.uint8] = np.empty((0, 0, 0), np.uint8)


class Index:
    """What is written beside the pixels, grown row by row: a check sum speaks for `together` rows."""

    def __init__(self, together: int) -> None:
        self.together = together
        self.digests: list[str] = []
        self.contents: list[bytes] = []
        self.sketches: list[bytes] = []
        self.checks: list[int] = []
        self.broken: dict[str, str] = {}
        self.passing: dict[str, str] = {}  # not written: it may go well the next time

    def takes(self, row: Row) -> bool:
        """Note one more row, or why there is none; tells whether there is."""
        if row.reason.startswith(PASSING):
            self.passing[row.digest] = row.reason.removeprefix(PASSING)
        elif row.reason:
            self.broken[row.digest] = row.reason
        else:
            if len(self.digests) % self.together == 0:
                self.checks.append(0)
            self.checks[-1] = zlib.crc32(row.pixels.data, self.checks[-1])
            self.digests.append(row.digest)
            self.contents.append(row.content)
            self.sketches.append(row.sketch)
        return not row.reason

    def to_json(self) -> dict[str, Any]:
        """What is written down."""
        return {
            "digests": self.digests,
            "contents": b"".join(self.contents).hex(),
            "sketches": b"".join(self.sketches).hex(),
            "checks": {"rows": self.together, "crc32": self.checks},
            "broken": self.broken,
        }


FORMAT = 2  # of 1 the indexes had no sketches


def hashed(text: str, size: int) -> str:
    """A BLAKE2 of `size` bytes, in hexadecimal."""
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=size).hexdigest()


def write_record(path: Path, head: dict[str, Any], body: dict[str, Any]) -> None:
    """Three lines: the SHA-256 of the others, what this is, and the whole of it, the two as JSON."""
    first = json.dumps({"format": FORMAT, **head}).encode()
    content = first + b"\n" + json.dumps(body, separators=(",", ":")).encode()
    files.write_bytes(path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def read_record(path: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Head and body that `write_record` wrote, to the byte, or None: a damaged record is none."""
    try:
        digest, _, content = path.read_bytes().partition(b"\n")
        if hashlib.sha256(content).hexdigest().encode() != digest:
            return None
        head, body = map(json.loads, content.split(b"\n", 1))
        return (head, body) if head["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
