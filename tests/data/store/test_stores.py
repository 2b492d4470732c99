"""Stores are listed and deleted, and nothing else is."""

from pathlib import Path

import pytest

from pellucid import files
from pellucid.data.store.pixels import pack
from pellucid.data.store.stores import delete_cached, list_stores
from pellucid.errors import PellucidError
from tests.data.listings import listed
from tests.data.store.packing import SMALL


def test_stored_lists_and_clear_deletes_only_what_is_ours(photos: Path, cache: Path) -> None:
    pack(listed(photos), SMALL, cache=cache)
    (entry,) = list_stores(cache)
    assert entry.name == str(photos)
    assert entry.bytes == sum(path.stat().st_size for path in entry.folder.iterdir())
    (entry.folder / "notes.txt").write_text("mine")
    (cache / "other").mkdir()
    (cache / "other" / "facts.json").write_text("mine, too")
    (entry,) = list_stores(cache)
    delete_cached(entry)
    assert sorted(path.name for path in cache.rglob("*") if path.is_file()) == ["facts.json", "notes.txt"]
    (entry.folder / "notes.txt").unlink()
    pack(listed(photos), SMALL, cache=cache)
    delete_cached(list_stores(cache)[0])
    assert not entry.folder.exists()


def test_a_store_that_is_being_built_is_not_cleared(photos: Path, cache: Path) -> None:
    pack(listed(photos), SMALL, cache=cache)
    (entry,) = list_stores(cache)
    being_built = pytest.raises(PellucidError, match="is being built by another process")
    with files.alone(entry.folder / "lock"), being_built:  # the lock is the open file's, not the process's
        delete_cached(entry)
    assert entry.bytes == list_stores(cache)[0].bytes
