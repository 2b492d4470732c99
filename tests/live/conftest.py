"""What the tests of the live page share."""

from collections.abc import Iterator

import pytest

from pellucid.serving.decoding import DecodingPool


@pytest.fixture(scope="module")
def decoders() -> Iterator[DecodingPool]:
    """Processes that read pictures, for every test of a file."""
    with DecodingPool() as pool:
        yield pool
