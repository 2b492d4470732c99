"""Getting pictures to the network: the store here, torch's DataLoader with Pillow there, in turn.

    python benchmarks/peers_loader.py [--pictures 20000] [--repetitions 5] [--size 64] [--workers 2]

It makes JPEGs of about 200 pixels in a temporary folder. Both sides give the same batches: shuffled, resized
by the same filter, float32 from 0 to 1. The peer decodes in every epoch, in two processes, and makes floats
in the main one. Ours decodes once: its first epoch begins with no store at all, and building it is counted.
Nothing is trained. All files have been read once before, so that both find them in the system's cache.
Prints a table for benchmarks/results.md; the ratios are of speeds in the same repetition.
"""

import argparse
import io
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pellucid.data.preprocess import Preprocess
from pellucid.data.sources.listing import Listing, Picture
from pellucid.data.store.pixels import pack, scan
from pellucid.inference import scaled
from pellucid.runs.run import processor
from pellucid.training.sampling import sample_order

BATCH = 128
CLASSES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--later", type=int, default=3, help="later epochs a repetition")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pellucid-loader-") as name:
        folder = Path(name)
        made = make_pictures(folder / "photos", options.pictures)
        each = made / options.pictures / 1e3
        print(f"{options.pictures:,} JPEGs, {each:.1f} kB each, to {options.size} pixels a side")
        compare(folder, options)


def compare(folder: Path, options: argparse.Namespace) -> None:
    paths = sorted((folder / "photos").rglob("*.jpg"))
    listing = listing_of(folder / "photos", paths)
    preprocess = Preprocess(3, options.size, options.size, "stretch")
    refuse_unlike(paths, preprocess)
    names = ("DataLoader, every epoch", "pellucid, first epoch with the store", "pellucid, later epochs")
    speeds: dict[str, list[float]] = {name: [] for name in names}
    for repetition in range(options.repetitions):
        peer = timed(partial(peer_epoch, paths, options.size, options.workers), len(paths))
        shutil.rmtree(folder / "cache", ignore_errors=True)
        first = timed(partial(our_epoch, listing, preprocess, folder), len(paths))
        images = pack(listing, preprocess, cache=folder / "cache").images
        later = [
            timed(partial(our_batches, images, epoch), len(paths)) for epoch in range(2, 2 + options.later)
        ]
        for name, speed in zip(names, (peer, first, statistics.mean(later)), strict=True):
            speeds[name].append(speed)
        print(
            f"repetition {repetition + 1}: {peer:,.0f}, {first:,.0f}, {statistics.mean(later):,.0f}",
            flush=True,
        )
    show(speeds)


def make_pictures(folder: Path, count: int) -> int:
    """Writes `count` JPEGs of soft shapes with grain, 160 to 240 pixels a side; gives their bytes in all."""
    for label in range(CLASSES):
        (folder / f"class-{label}").mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        return sum(pool.map(partial(make_picture, folder), range(count), chunksize=64))


def make_picture(folder: Path, number: int) -> int:
    generator = np.random.default_rng(number)
    width, height = generator.integers(160, 241, 2)
    small = generator.integers(0, 256, (9, 9, 3), np.uint8)
    soft = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    grain = generator.normal(0, 6, (height, width, 1))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(soft + grain, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    path = folder / f"class-{number % CLASSES}" / f"{number:06d}.jpg"
    path.write_bytes(buffer.getvalue())
    return path.stat().st_size


class Pictures(Dataset[tuple[Tensor, int]]):
    """What a person writes by hand: one picture at a time, decoded whenever it is asked for."""

    def __init__(self, paths: list[Path], size: int) -> None:
        self.paths = paths
        self.size = size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.paths[index]) as image:
            small = image.convert("RGB").resize((self.size, self.size), Image.Resampling.BOX)
        pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1).contiguous()
        return pixels, int(self.paths[index].parent.name.removeprefix("class-"))


def peer_epoch(paths: list[Path], size: int, workers: int) -> int:
    loader = DataLoader(Pictures(paths, size), batch_size=BATCH, shuffle=True, num_workers=workers)
    return sum(len(images.float().div_(255)) for images, _ in loader)


def listing_of(root: Path, paths: list[Path]) -> Listing:
    """What `pellucid` finds in the folder; the peer is given its list of files, too."""
    pictures = [Picture(path.relative_to(root).as_posix(), path.parent.name) for path in paths]

    def stamp(number: int) -> str:
        facts = paths[number].stat()
        return f"{facts.st_size} {facts.st_mtime_ns} {facts.st_ino}"

    names = tuple(sorted({picture.label for picture in pictures}))
    return Listing(str(root), pictures, names, (), lambda number: paths[number].read_bytes(), stamp)


def our_batches(images: Tensor, epoch: int) -> int:
    """An epoch as training.train takes it."""
    order = sample_order(len(images), 42, epoch)
    return sum(len(scaled(images[batch])) for batch in torch.split(order, BATCH))


def our_epoch(listing: Listing, preprocess: Preprocess, folder: Path) -> int:
    """As `data.read_pictures` does with a size that is given: look, decode, and then the first epoch."""
    cache = folder / "cache"
    looked = scan(listing, lambda seen: replace(preprocess, channels=seen.channels), cache=cache)
    return our_batches(pack(listing, preprocess, cache=cache, headers=looked).images, 1)


def refuse_unlike(paths: list[Path], preprocess: Preprocess) -> None:
    """Both sides give the same pixels, or the comparison means nothing. It reads every file once, too."""
    peer = Pictures(paths, preprocess.width)
    for index in range(0, len(paths), max(1, len(paths) // 50)):
        assert torch.equal(peer[index][0], preprocess.read(paths[index]))
    for path in paths:
        path.read_bytes()


def timed(epoch: Callable[[], int], count: int) -> float:
    """Pictures a second of one epoch, all of which were given."""
    started = time.perf_counter()
    assert epoch() == count
    return count / (time.perf_counter() - started)


def show(speeds: dict[str, list[float]]) -> None:
    peer, *_ = speeds
    print(
        f"\n{processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, "
        f"torch {torch.__version__}, Pillow {PIL.__version__}, {torch.get_num_threads()} threads\n"
    )
    print("| | n | pictures/s, mean ± sd | times the DataLoader, mean (least) |")
    print("|---|---|---|---|")
    for name, values in speeds.items():
        ratios = [value / other for value, other in zip(values, speeds[peer], strict=True)]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(
            f"| {name} | {len(values)} | {statistics.mean(values):,.0f} ± {spread:,.0f} "
            f"| {statistics.mean(ratios):.2f} ({min(ratios):.2f}) |"
        )


if __name__ == "__main__":
    main()
