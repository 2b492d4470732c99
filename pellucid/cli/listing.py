"""Commands that tell what there is: datasets, models, doctor."""

import json
import sys

from pellucid.cli.options import AsJson, DataDir


def datasets(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the known data sets: where each was found, its size and licence."""
    from pellucid.data import DATASETS, locate

    for name, known in DATASETS.items():
        place = locate(name, data_dir)
        if as_json:
            facts = {
                "name": name,
                "title": known.title,
                "found": place,
                "pictures": known.pictures,
                "download_bytes": known.download_bytes,
            }
            print(json.dumps({**facts, "licence": known.licence}, ensure_ascii=False))
        else:
            size = f", {known.download_bytes / 1e6:.1f} MB" if known.download_bytes else ""
            if known.folder != name:
                size += f" for all of {known.folder}"
            print(f"{name}: {known.title}; {known.pictures:,} pictures{size}; {known.licence}")
            print(f"    {place or 'not here yet: would be downloaded when first used'}")


def models() -> None:
    """List the networks that can be trained."""
    from pellucid.models import MODELS

    for name, model in MODELS.items():
        print(f"{name}: {model.phrase}")
    print("hf:NAME_OR_FOLDER: pretrained by others, with a new last layer; needs 'pellucid[pretrained]'")


def doctor() -> None:
    """Tell what pellucid runs on: versions, processor, threads, and what makes training quick here."""
    from importlib.metadata import version

    import torch

    from pellucid.machine import cores, keep_memory, multiplies_bfloat16, processor
    from pellucid.native import prepare

    auto, why = ("bfloat16", "natively") if multiplies_bfloat16() else ("float32", "only by emulation")
    print(f"pellucid {version('pellucid')}, Python {sys.version.split()[0]}, torch {torch.__version__}")
    print(f"processor: {processor()}, {cores()} cores, {torch.get_num_threads()} threads")
    print(f"precision auto: {auto}, since this processor multiplies bfloat16 {why}")
    kept = "kept between steps" if keep_memory() else "given back between steps: there is no glibc to ask"
    print(f"memory: {kept}")
    print(f"convolution: {prepare()}")
