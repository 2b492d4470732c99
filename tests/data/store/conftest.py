"""A folder of pictures, an empty cache, and what is counted of the work on them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from pellucid.data.preprocess import Preprocess
from pellucid.data.store import headers, pixels
from pellucid.decode.images import DecodedImage, DecodeSettings
from pellucid.decode.workers import WorkerPool, WorkerResult
from tests.data.listings import folder_of_pictures


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return folder_of_pictures(tmp_path / "photos")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> Counter[bytes]:
    """How often each content was decoded for a store."""
    counted: Counter[bytes] = Counter()
    decode = Preprocess.decode

    def counting(self: Preprocess, picture: bytes, **options: str) -> DecodedImage:
        counted[picture if isinstance(picture, bytes) else picture.tobytes()] += 1
        return decode(self, picture, **options)

    monkeypatch.setattr(Preprocess, "decode", counting)
    return counted


@pytest.fixture
def with_workers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """However few pictures there are, workers see to them; tells how many files each order to them held."""
    monkeypatch.setattr(headers, "MIN_FOR_HEADER_WORKERS", 1)
    monkeypatch.setattr(pixels, "MIN_FOR_DECODE_WORKERS", 1)
    orders: list[int] = []
    asked = WorkerPool.process

    def counting(
        self: WorkerPool, contents: Sequence[object], settings: DecodeSettings | None = None
    ) -> list[WorkerResult | None]:
        answers = asked(self, contents, settings)
        if self.threads:
            orders.append(sum(answer is not None for answer in answers))
        return answers

    monkeypatch.setattr(WorkerPool, "process", counting)
    return orders
