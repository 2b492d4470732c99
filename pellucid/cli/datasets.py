"""The command that lists the known data sets: datasets."""

from pellucid.cli.options import AsJson, DataDir, Quiet
from pellucid.cli.output import Output

EXAMPLES = """\
Examples:
  pellucid datasets
  pellucid datasets --data-dir ~/data
"""


def datasets(data_dir: DataDir = None, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """List the known data sets: where each was found, its size and licence."""
    from pellucid.data import DATASETS, locate

    output = Output(quiet, as_json)
    for name, known in DATASETS.items():
        path = locate(name, data_dir)
        output.object(
            {
                "name": name,
                "title": known.title,
                "path": path,
                "pictures": known.pictures,
                "download_bytes": known.download_bytes,
                "licence": known.licence,
            }
        )
        size = f", {known.download_bytes / 1e6:.1f} MB" if known.download_bytes else ""
        if known.folder != name:
            size += f" for all of {known.folder}"
        output.line(f"{name}: {known.title}; {known.pictures:,} pictures{size}; {known.licence}")
        output.line(f"    {path or 'not on this machine yet: downloaded when it is first used'}")
