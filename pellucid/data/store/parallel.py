"""Work spread over all cores, in order, with few results in memory at once."""

import lzma
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
from pellucid.decode.workers import WorkerResult
from pellucid.errors import PellucidError
from pellucid.machine import cores

BLOCK_ITEMS = 512  # between two calls of progress, at most
BLOCK_BYTES = 64 << 20  # of the results between two calls of progress, at most
CHUNK_ITEMS = 32  # given to a thread at once, at most
REQUEST_BYTES = 1 << 20  # of files sent to a worker at once, approximately

# How reading a picture's bytes may fail: a lost disk, a damaged or encrypted archive.
READ_ERRORS = (
    PellucidError, OSError, EOFError, ValueError, KeyError, RuntimeError,
    zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError,
)  # fmt: skip

Progress = Callable[[str, int, int], None]  # the activity, pictures so far, pictures in total
Content = bytes | NDArray[np.uint8]
Item = TypeVar("Item")
Result = TypeVar("Result")
Read = TypeVar("Read")


def map_in_threads(
    function: Callable[[Sequence[Item]], list[Result]],
    items: Sequence[Item],
    on_progress: Callable[[int], None],
    *,
    threads: int = 0,
    result_bytes: int = 0,
) -> Iterator[Result]:
    """The results of `function`, which receives some items at a time, in the order of the items.

    on_progress  called with the number of items done
    threads      0: one per core
    result_bytes of one result, if they are large: fewer then wait

    Pillow, zlib and hashlib release Python's lock while they work. At most three blocks of results wait in
    memory, however slowly they are consumed. A consumer that stops early waits only for what is running.
    """
    blocks: deque[tuple[int, list[Future[list[Result]]]]] = deque()

    def results_of_first_block() -> Iterator[Result]:
        done, futures = blocks.popleft()
        for future in futures:
            yield from future.result()
        on_progress(done)

    pool = ThreadPoolExecutor(threads or cores())
    try:
        block = max(1, min(BLOCK_ITEMS, BLOCK_BYTES // max(1, result_bytes)))
        size = max(1, min(CHUNK_ITEMS, block // (threads or cores())))
        for start in range(0, len(items), block):
            end = min(start + block, len(items))
            chunks = [items[i : min(i + size, end)] for i in range(start, end, size)]
            blocks.append((end, [pool.submit(function, chunk) for chunk in chunks]))
            if len(blocks) > 2:
                yield from results_of_first_block()
        while blocks:
            yield from results_of_first_block()
    finally:
        pool.shutdown(cancel_futures=True)


def process_in_batches(
    items: Sequence[Item],
    read: Callable[[Item], Read],
    process: Callable[[Sequence[Read]], Sequence[WorkerResult | None]],
    finish: Callable[[Item, Read, WorkerResult | None], Result],
) -> list[Result]:
    """What `finish` makes of each item, of what was read of it, and of a worker's result if there is one.

    About REQUEST_BYTES of files and arrays are in memory at once.
    """
    results = list[Result]()
    contents = list[Read]()
    for count, item in enumerate(items, 1):
        contents.append(read(item))
        size = sum(len(content) for content in contents if isinstance(content, bytes))
        size += sum(content.nbytes for content in contents if isinstance(content, np.ndarray))
        if size >= REQUEST_BYTES or count == len(items):
            batch = items[len(results) : count]
            results += map(finish, batch, contents, process(contents))
            contents = []
    return results


def worker_count(listing: Listing, indices: Sequence[int], minimum: int) -> int:
    """How many workers are worth starting for these pictures: one per core, or none.

    None for fewer pictures than `minimum`, and none for arrays, which need no decoding.
    """
    if len(indices) < minimum:
        return 0
    try:
        return cores() if isinstance(listing.read(indices[0]), bytes) else 0
    except READ_ERRORS:
        return cores()


def no_progress(activity: str, done: int, total: int) -> None:
    """Progress that nobody watches."""
