"""Work over all cores, in order, with few results in memory at once."""

import lzma
import os
import tarfile
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pellucid.data.sources.listing import Listing
from pellucid.decode.workers import Answer
from pellucid.errors import PellucidError

AT_ONCE = 512  # pictures between two words of progress
TOGETHER = 32  # pictures a thread is given at a time
ORDER_BYTES = 1 << 20  # of files a worker is given at a time, about


# How a source may fail to give a picture's bytes: a lost disk, a damaged or locked archive.
UNREAD = (
    PellucidError, OSError, EOFError, ValueError, KeyError, RuntimeError,
    zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError,
)  # fmt: skip


Progress = Callable[[str, int, int], None]  # what is done, how many pictures so far, how many in all
Content = bytes | NDArray[np.uint8]
Item = TypeVar("Item")
Result = TypeVar("Result")
Read = TypeVar("Read")


def over_cores(
    do: Callable[[Sequence[Item]], list[Result]],
    items: Sequence[Item],
    told: Callable[[int], None],
    *,
    threads: int = 0,
) -> Iterator[Result]:
    """`do` of all items, some at a time and in order; `told` hears how many are done.

    threads  one a core, unless told otherwise

    Pillow, zlib and hashlib let go of Python's lock while they work. Results wait in memory for at most
    three blocks, however slowly they are taken. Whoever takes no more waits only for what is being done.
    """
    blocks: deque[tuple[int, list[Future[list[Result]]]]] = deque()

    def taken() -> Iterator[Result]:
        done, chunks = blocks.popleft()
        for chunk in chunks:
            yield from chunk.result()
        told(done)

    pool = ThreadPoolExecutor(threads or cores())
    try:
        for start in range(0, len(items), AT_ONCE):
            end = min(start + AT_ONCE, len(items))
            chunks = [items[at : min(at + TOGETHER, end)] for at in range(start, end, TOGETHER)]
            blocks.append((end, [pool.submit(do, chunk) for chunk in chunks]))
            if len(blocks) > 2:
                yield from taken()
        while blocks:
            yield from taken()
    finally:
        pool.shutdown(cancel_futures=True)


def worked_on(
    items: Sequence[Item],
    read: Callable[[Item], Read],
    ask: Callable[[Sequence[Read]], Sequence[Answer | None]],
    make: Callable[[Item, Read, Answer | None], Result],
) -> list[Result]:
    """What `make` makes of each item, what was read of it, and the answer of a worker, if there is one.

    No more than about ORDER_BYTES of files are in memory at once.
    """
    made = list[Result]()
    contents = list[Read]()
    for number, item in enumerate(items, 1):
        contents.append(read(item))
        size = sum(len(content) for content in contents if isinstance(content, bytes))
        if size >= ORDER_BYTES or number == len(items):
            some = items[len(made) : number]
            made += map(make, some, contents, ask(contents))
            contents = []
    return made


def worker_count(listing: Listing, numbers: Sequence[int], fewest: int) -> int:
    """How many workers are worth their start for these pictures: one a core, or none.

    None for few pictures, nor for arrays, which nothing has to be decoded of.
    """
    if len(numbers) < fewest:
        return 0
    try:
        return cores() if isinstance(listing.read(numbers[0]), bytes) else 0
    except UNREAD:
        return cores()


def cores() -> int:
    """How many processor cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux tells
        return os.cpu_count() or 1


def no_progress(what: str, done: int, count: int) -> None:
    """Progress told to nobody."""
