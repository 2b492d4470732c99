"""Exporting toys takes one thread."""

from collections.abc import Iterator

import pytest

from tests.toys import economical


@pytest.fixture(autouse=True)
def cheaply() -> Iterator[None]:
    with economical():
        yield
