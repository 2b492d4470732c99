"""How many test digits can be turned into another class by a few edits, and how small the change is.

    python benchmarks/counterfactuals.py RUN [COUNT]

The first COUNT test pictures (200), each turned into whatever is nearest. Prints one line; and one on the
first 30, small and gray: for how many a single dab, all of which are tried, turns them with less change.
"""

import sys
from pathlib import Path
from statistics import median, quantiles

import torch
from torch import Tensor

from pellucid.classifier import Classifier
from pellucid.cli.pictures import splits_of
from pellucid.explanation.counterfactual import PEN_REFERENCE, RADII, small_change
from pellucid.explanation.faithfulness import empty_picture
from pellucid.runs.run import Run

DABBED = 30  # pictures on which every single dab is tried


def main() -> None:
    """Turn every picture, run it once more, count."""
    run = Run.open(Path(sys.argv[1]))
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    images = splits_of(run, None).test.images[:count]
    found = [small_change(run.classifier, image) for image in images]
    amounts = [one.amount for one in found if one.confirmed]
    edits = [len(one.edits) for one in found if one.confirmed]
    smaller = [one for one in found[:DABBED] if least_single_dab(run.classifier, one.image) < one.amount]
    quarters = quantiles(amounts, n=4)
    print(
        f"{len(amounts)} of {len(found)} turned and confirmed ({len(amounts) / len(found):.1%}); "
        f"change in pixels: median {median(amounts):.1f}, quarters {quarters[0]:.1f} and {quarters[2]:.1f}; "
        f"edits: median {median(edits)}"
    )
    print(f"a single dab is a smaller change for {len(smaller)} of {len(found[:DABBED])}")


def least_single_dab(classifier: Classifier, image: Tensor) -> float:
    """The least change, in pixels, by one dab of any pen or eraser anywhere that turns the prediction."""
    height, width = image.shape[1:]
    before, answer = image.float() / 255, int(classifier.logits(image[None])[0].argmax())
    paper = empty_picture(before[None])[0]
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    centres = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    least = float("inf")
    for radius in (radius * max(1.0, max(height, width) / PEN_REFERENCE) for radius in RADII):
        down = rows - centres[:, 0, None, None]
        across = columns - centres[:, 1, None, None]
        masks = (radius + 0.5 - (down.square() + across.square()).sqrt()).clamp(0, 1)[:, None]  # (P, 1, H, W)
        for goal in ((paper < 0.5).float(), paper):
            changed = ((before + masks * (goal - before)) * 255).round().to(torch.uint8)
            turned = classifier.logits(changed).argmax(dim=1) != answer
            amounts = (changed.float() - image.float()).abs().sum(dim=(1, 2, 3)) / 255
            least = min([least, *amounts[turned].tolist()])
    return least


if __name__ == "__main__":
    main()
