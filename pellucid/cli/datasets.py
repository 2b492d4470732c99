"""The command that lists the known data sets: datasets."""

import json

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
