"""The index beside a file of pixels: which content is in which row, and checksums; and how it is stored."""

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pellucid import files
from pellucid.reading import TABLE_BYTES, read_regular

TRANSIENT = "transient: "  # begins the reason of a failure that is not the content's fault
CHANGED = f"{TRANSIENT}has changed while it was being read. Run the command again."
FORMAT = 2  # of records; a record of another format is ignored


class Row(NamedTuple):
    """One content: its pixels, or the reason why there are none.

    digest   of the file's bytes
    reason   "" if there are pixels
    content  the hash of the pixels
    sketch   of the picture at its original size: `images.sketch_of`
    pixels   (C, H, W)
    """

    digest: str
    reason: str
    content: bytes = b""
    sketch: bytes = b""
    pixels: NDArray[np.uint8] = np.empty((0, 0, 0), np.uint8)


class Index:
    """What is known of every row, grown row by row; each checksum covers `rows_per_check` rows."""

    def __init__(self, rows_per_check: int) -> None:
        self.rows_per_check = rows_per_check
        self.digests: list[str] = []
        self.contents: list[bytes] = []
        self.sketches: list[bytes] = []
        self.checksums: list[int] = []
        self.broken: dict[str, str] = {}
        self.transient: dict[str, str] = {}  # not stored: the next attempt may succeed

    def add(self, row: Row) -> bool:
        """Record a row or the reason why it has no pixels; returns whether it has."""
        if row.reason.startswith(TRANSIENT):
            self.transient[row.digest] = row.reason.removeprefix(TRANSIENT)
        elif row.reason:
            self.broken[row.digest] = row.reason
        else:
            if len(self.digests) % self.rows_per_check == 0:
                self.checksums.append(0)
            self.checksums[-1] = zlib.crc32(row.pixels.data, self.checksums[-1])
            self.digests.append(row.digest)
            self.contents.append(row.content)
            self.sketches.append(row.sketch)
        return not row.reason

    def to_json(self) -> dict[str, Any]:
        """The index as plain values."""
        return {
            "digests": self.digests,
            "contents": b"".join(self.contents).hex(),
            "sketches": b"".join(self.sketches).hex(),
            "checks": {"rows": self.rows_per_check, "crc32": self.checksums},
            "broken": self.broken,
        }


def hash_text(text: str, size: int) -> str:
    """BLAKE2 of `size` bytes, in hexadecimal."""
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=size).hexdigest()


def write_record(path: Path, head: dict[str, Any], body: dict[str, Any]) -> None:
    """Three lines: the SHA-256 of the other two, the head and the body, both as JSON."""
    head_line = json.dumps({"format": FORMAT, **head}).encode()
    content = head_line + b"\n" + json.dumps(body, separators=(",", ":")).encode()
    files.write_bytes(path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def read_record(path: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Head and body as `write_record` wrote them; None if it is absent, damaged or of another format."""
    try:
        digest, _, content = read_regular(path, TABLE_BYTES).partition(b"\n")
        if hashlib.sha256(content).hexdigest().encode() != digest:
            return None
        head, body = map(json.loads, content.split(b"\n", 1))
        return (head, body) if head["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
