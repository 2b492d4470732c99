"""How well pictures unlike anything taught are told apart, and how often drift is called where there is none.

    PELLUCID_DATA=FOLDER python benchmarks/novelty.py unlike [SEED ...] [PHOTOS]
    PELLUCID_DATA=FOLDER python benchmarks/novelty.py drift [SEED] [KIND TO LEAVE OUT ...]

One training on MNIST by the default recipe for each seed, in one thread. `unlike` gives AUROC against MNIST's
test pictures: of letters, in the fonts that come with matplotlib, placed as MNIST's digits are; of digits
turned by a quarter, 0 apart, which stays a 0, and by a half where they are no digits then (3, 4, 7), and of
all these together, also with 2 and 5 turned by a half, which read as themselves in print; 0, 1, 8 and 6, 9
turned by a half stay digits, or become each other, and are left out; of photographs below the folder PHOTOS,
gray, 28x28; of noise. `drift` parts the validation pictures at random
into held-out and new ones, again and again.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional

import pellucid
from pellucid.data.dataset import Splits
from pellucid.evaluation.drift import drift
from pellucid.evaluation.metrics import wilson
from pellucid.evaluation.novelty import PictureSample, Reference
from pellucid.explanation.neighbours import answers_and_features
from pellucid.formatting import percent
from pellucid.pad.strokes import RULES, place_picture
from pellucid.recipe import Recipe
from pellucid.runs.run import Run

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
LIKE_DIGITS = {"O": 0, "D": 0, "Q": 0, "I": 1, "Z": 2, "S": 5, "G": 6, "B": 8}  # what readers of text confuse
FONTS = ("DejaVuSans*", "DejaVuSerif*", "STIXGeneral*", "cmr10", "cmss10", "cmtt10", "cmb10")
TRIALS = 200


def letters() -> tuple[Tensor, list[str]]:
    """Every capital letter in every font as MNIST would have it, uint8 (N, 1, 28, 28), and its name."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    files = [
        file for name in FONTS for file in sorted(folder.glob(f"{name}.ttf")) if "Display" not in file.name
    ]
    pictures, names = [], []
    for file in files:
        font = ImageFont.truetype(str(file), 120)
        for letter in LETTERS:
            page = Image.new("L", (300, 300))
            ImageDraw.Draw(page).text((80, 60), letter, fill=255, font=font)
            pictures.append(torch.from_numpy(place_picture(np.asarray(page), RULES["mnist"])))
            names.append(letter)
    return torch.stack(pictures)[:, None], names


def photographs(folder: Path) -> Tensor:
    """Every JPEG below `folder`, gray, uint8 (N, 1, 28, 28)."""
    found = []
    for file in sorted(folder.rglob("*.jpg")):
        with Image.open(file) as picture:
            gray = picture.convert("L").resize((28, 28), Image.Resampling.BILINEAR)
        found.append(torch.from_numpy(np.array(gray)))
    return torch.stack(found)[:, None]


def strangers(splits: Splits, photos: Path | None) -> Iterator[tuple[str, Tensor]]:
    """Pictures that show nothing that was taught, by name."""
    drawn, names = letters()
    unmistakable = torch.tensor([name not in LIKE_DIGITS for name in names])
    yield "letters, all 26", drawn
    yield f"letters without {' '.join(sorted(LIKE_DIGITS))}", drawn[unmistakable]
    images, labels = splits.test.images, splits.test.labels
    quarter = images[labels != 0]
    yield "turned left", torch.rot90(quarter, 1, (2, 3))
    yield "turned right", torch.rot90(quarter, -1, (2, 3))
    half = torch.isin(labels, torch.tensor([3, 4, 7]))
    yield "3, 4, 7 turned upside down", torch.rot90(images[half], 2, (2, 3))
    turned = [torch.rot90(quarter, times, (2, 3)) for times in (1, 3)]
    for name, digits in (("3, 4, 7", [3, 4, 7]), ("2, 3, 4, 5, 7", [2, 3, 4, 5, 7])):
        upside_down = images[torch.isin(labels, torch.tensor(digits))]
        together = torch.cat([*turned, torch.rot90(upside_down, 2, (2, 3))])
        yield f"turned: all but 0 by 90 and 270 degrees, {name} by 180", together
    if photos is not None:
        yield "photographs", photographs(photos)
    generator = torch.Generator().manual_seed(0)
    yield "noise", torch.randint(0, 256, (1000, 1, 28, 28), dtype=torch.uint8, generator=generator)


def trained(folder: Path, seed: int) -> Run:
    recipe = Recipe.named("fast", seed=seed, threads=1)
    return pellucid.fit("mnist", recipe, folder=folder, snapshots=0)


def unlike(seed: int, photos: Path | None) -> None:
    """AUROC of the distance and, beside it, of the confidence; how many are called unlike."""
    splits = pellucid.load("mnist")
    with tempfile.TemporaryDirectory() as place:
        run = trained(Path(place) / "run", seed)
        size = (Path(place) / "run" / "reference.safetensors").stat().st_size
        ordinary = run.novelty(splits.test.images)
        confident = run.classifier.predict(splits.test.images).amax(dim=1)
        false = int(ordinary.unlike.sum())
        low, high = wilson(false / 10_000, 10_000)
        print(
            f"seed {seed}: reference {size:,} bytes; of 10,000 test pictures {false} called unlike "
            f"({low:.2%} to {high:.2%})"
        )
        for name, images in strangers(splits, photos):
            found = run.novelty(images)
            truth = np.concatenate([np.zeros(10_000), np.ones(len(images))])
            by_distance = roc_auc_score(truth, torch.cat([ordinary.distances, found.distances]))
            answers = -torch.cat([confident, run.classifier.predict(images).amax(dim=1)])
            by_confidence = roc_auc_score(truth, answers)
            print(
                f"  {name} (n = {len(images):,}): AUROC {by_distance:.4f} (by confidence "
                f"{by_confidence:.4f}), "
                f"{percent(float(found.unlike.float().mean()))} called unlike",
                flush=True,
            )


def changed(amount: float, change: str) -> Callable[[Tensor], Tensor]:
    """Pictures, uint8 (N, 1, 28, 28), that are darker, or blurred in part."""

    def apply(images: Tensor) -> Tensor:
        values = images.float()
        if change == "darker":
            return (values * (1 - amount)).to(torch.uint8)
        blurred = functional.avg_pool2d(values, 3, 1, 1)
        return (values * (1 - amount) + blurred * amount).to(torch.uint8)

    return apply


def sampled(run: Run, reference: Reference, images: Tensor) -> PictureSample:
    probabilities, features = answers_and_features(run.classifier, images)
    return reference.sample(features, probabilities, probabilities.amax(dim=1), images)


def fewer(labels: Tensor, generator: torch.Generator) -> Tensor:
    """A random order in which the digits 0 to 4 come half as often."""
    order = torch.randperm(len(labels), generator=generator)
    spared = torch.rand(len(labels), generator=generator) < 0.5
    return order[(labels[order] > 4) | spared[order]]


def drifts(seed: int, leave_out: Sequence[str]) -> None:
    """How often a difference is called, by the number of pictures: none, and some kinds of drift."""
    splits = pellucid.load("mnist")
    with tempfile.TemporaryDirectory() as place:
        run = trained(Path(place) / "run", seed)
        reference, held_out = run.reference(), run.splits().validation
        images, labels = held_out.images[:], held_out.labels
        plain = sampled(run, reference, images)
        strange = sampled(run, reference, letters()[0])
        kinds: dict[str, PictureSample] = {
            "none": plain,
            "5 % darker": sampled(run, reference, changed(0.05, "darker")(images)),
            "20 % darker": sampled(run, reference, changed(0.2, "darker")(images)),
            "half blurred": sampled(run, reference, changed(0.5, "blurred")(images)),
            "0 to 4 half as often": plain,
            "5 % letters": plain,
        }
    generator = torch.Generator().manual_seed(0)
    for kind, sample in kinds.items():
        if kind in leave_out:
            continue
        for count in (20, 50, 100, 200, 500, 1000) if kind == "none" else (50, 200, 1000):
            trials = TRIALS if kind == "none" else 20
            found, by = 0, dict[str, int]()
            for _ in range(trials):
                order = torch.randperm(len(plain), generator=generator)
                known, rest = order[:5000], order[5000:]
                if kind == "0 to 4 half as often":
                    rest = rest[fewer(labels[rest], generator)]
                new = sample.subset(rest[:count])
                if kind == "5 % letters":
                    put = torch.randperm(len(strange), generator=generator)[: count // 20]
                    new = PictureSample.joined(
                        [new.subset(torch.arange(len(put), count)), strange.subset(put)]
                    )
                compared = Reference(reference.features, reference.mean, reference.basis, plain.subset(known))
                result = drift(compared, new, splits.train.classes)
                found += result.found
                for test in result.differences:
                    by[test.name] = by.get(test.name, 0) + 1
            low, high = wilson(found / trials, trials)
            names = ", ".join(f"{name} {times}" for name, times in sorted(by.items()))
            print(
                f"{kind}, {count} pictures: {found} of {trials} ({low:.1%} to {high:.1%}); {names}",
                flush=True,
            )


def numbers(words: Sequence[str]) -> list[int]:
    return [int(word) for word in words if word.isdigit()] or [0]


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "unlike":
        folders = [Path(word) for word in sys.argv[2:] if not word.isdigit()]
        for number in numbers(sys.argv[2:]):
            unlike(number, folders[0] if folders else None)
    else:
        drifts(numbers(sys.argv[2:])[0], [word for word in sys.argv[2:] if not word.isdigit()])
