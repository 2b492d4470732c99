"""How many test digits can be turned into another class by a few edits, and how small the change is.

    python benchmarks/counterfactuals.py RUN [COUNT]

The first COUNT test pictures (200), each turned into whatever is nearest. Prints one line.
"""

import sys
from pathlib import Path
from statistics import median, quantiles

from pellucid.cli.pictures import splits_of
from pellucid.explanation.counterfactual import smallest_change
from pellucid.runs.run import Run


def main() -> None:
    """Turn every picture, run it once more, count."""
    run = Run.open(Path(sys.argv[1]))
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    images = splits_of(run, None).test.images[:count]
    found = [smallest_change(run.classifier, image) for image in images]
    amounts = [one.amount for one in found if one.confirmed]
    edits = [len(one.edits) for one in found if one.confirmed]
    quarters = quantiles(amounts, n=4)
    print(
        f"{len(amounts)} of {len(found)} turned and confirmed ({len(amounts) / len(found):.1%}); "
        f"change in pixels: median {median(amounts):.1f}, quarters {quarters[0]:.1f} and {quarters[2]:.1f}; "
        f"edits: median {median(edits)}"
    )


if __name__ == "__main__":
    main()
