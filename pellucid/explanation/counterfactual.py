"""What would change the answer: the smallest dab of the pen, rubber or cover that turns it into another.

After counterfactual explanations (Wachter et al., arXiv:1711.00399) and pertinent strokes (Dhurandhar et al.,
arXiv:1802.07623), with a pen in place of an optimiser: places are proposed by the gradient, judged by running
the network on the changed picture, and what is reported has been run once more, as `predict` runs it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.classifier import Classifier
from pellucid.errors import UsageError
from pellucid.explanation.activations import undisturbed
from pellucid.explanation.attribution import scores_of
from pellucid.explanation.faithfulness import blank
from pellucid.formatting import percent
from pellucid.inference import VALUES_A_BATCH, scaled
from pellucid.language import lazy_ngettext, translate

PEN_SIDE = 64  # gray pictures up to this side are drawn on; others are covered in part
RADII = (1.0, 1.5, 2.0, 2.5, 3.5)  # pixels, for a picture of 28; larger pens for larger pictures
COVERS = (7, 5, 4, 3)  # a cover is the side of the picture divided by this
MOST_DABS = 12
MOST_COVERS = 6  # more would hide the picture
PROPOSALS = 16  # places tried by running, for each pen and class, at every dab
PLACES_COVERED = 8  # and of covers: what is large enough to be covered is large enough to take its time
LIKELY = 3  # classes tried when any other will do: those with the highest scores

CAVEAT = (
    "This is the network's border, not a human's: if one gray dot flips the answer, the network is fragile."
)


@dataclass(frozen=True)
class Dab:
    """One change: `kind` is "add", "erase" or "cover"; centre and radius in pixels, row first."""

    kind: str
    row: int
    column: int
    radius: float


@dataclass(frozen=True, eq=False)
class Counterfactual:
    """A picture changed a little so that the network answers otherwise.

    image, changed  uint8 (C, H, W), before and after
    answer, target  the class answered before, and the class wanted
    dabs            the changes, in order
    amount          the change as a number of full pixels: the sum of all differences / 255 / C
    before, after   probabilities (K,) for both pictures
    confirmed       whether the changed picture, run once more as `predict` runs it, is given `target`
    """

    image: Tensor
    changed: Tensor
    answer: int
    target: int
    classes: tuple[str, ...]
    dabs: tuple[Dab, ...]
    amount: float
    before: Tensor
    after: Tensor
    confirmed: bool

    def __repr__(self) -> str:
        return f"Counterfactual({self.sentence})"

    @property
    def sentence(self) -> str:
        """What was changed and what came of it."""
        name, wanted = self.classes[self.answer], self.classes[self.target]
        if not self.confirmed:
            return in_vain([self])
        return translate(
            "%(answer)s -> %(wanted)s: %(what)s, %(amount)s pixels of change, then %(sure)s %(wanted)s.",
            answer=name,
            wanted=wanted,
            what=self._what(),
            amount=f"{self.amount:.1f}",
            sure=percent(float(self.after[self.target])),
        )

    def _what(self) -> str:
        """How many dabs of each kind were made."""
        counts = {kind: sum(dab.kind == kind for dab in self.dabs) for kind in ("add", "erase", "cover")}
        made = (
            lazy_ngettext("%(count)s dab added", "%(count)s dabs added", counts["add"]),
            lazy_ngettext("%(count)s dab erased", "%(count)s dabs erased", counts["erase"]),
            lazy_ngettext("%(count)s region covered", "%(count)s regions covered", counts["cover"]),
        )
        first, *second = (one for one in made if one.values["count"])
        return translate("%(first)s and %(second)s", first=first, second=second[0]) if second else str(first)


def in_vain(ways: Sequence[Counterfactual]) -> str:
    """To which classes no change of a picture was found, of searches of which none was confirmed."""
    first, names = ways[0], ", ".join(way.classes[way.target] for way in ways)
    answer = first.classes[first.answer]
    if _drawn(first.image):
        return translate(
            "%(answer)s -> %(wanted)s: no change of up to %(most)s dabs was found.",
            answer=answer, wanted=names, most=MOST_DABS,
        )  # fmt: skip
    return translate(
        "%(answer)s -> %(wanted)s: no change of up to %(most)s covered regions was found.",
        answer=answer, wanted=names, most=MOST_COVERS,
    )  # fmt: skip


def smallest_change(classifier: Classifier, image: Tensor) -> Counterfactual:
    """The smallest change found, of `image` uint8 (C, H, W), that turns the answer into another.

    The three classes next in line are tried, all others where none of these is reached. Not confirmed when no
    change was found. Raises UsageError for a picture that does not fit the classifier.
    """
    order = classifier.logits(image[None])[0].argsort(descending=True).tolist()
    if len(order) < 2:
        raise UsageError("Expected a classifier of at least two classes.")
    ways = changes_to_others(classifier, image, order[1 : 1 + LIKELY])
    if not any(way.confirmed for way in ways):
        ways += changes_to_others(classifier, image, order[1 + LIKELY :])
    return min(ways, key=lambda way: (not way.confirmed, way.amount))


def changes_to_others(
    classifier: Classifier, image: Tensor, targets: Sequence[int] | None = None
) -> list[Counterfactual]:
    """The shortest way found from the answer to each other class, in the order of `targets`.

    targets  the classes wanted, numbers; without them all but the one answered
    """
    before = classifier.predict(image[None])[0]  # (K,)
    answer = int(before.argmax())
    numbers = range(len(classifier.classes)) if targets is None else targets
    for number in numbers:
        if not 0 <= number < len(classifier.classes):
            raise UsageError(f"Expected a class from 0 to {len(classifier.classes) - 1}; got {number}.")
    wanted = [number for number in numbers if number != answer]
    if not wanted:
        return []
    with undisturbed(classifier.network):
        search = _Search(classifier.network, image, wanted)
        search.run()
        found = [search.best(target) for target in wanted]
    changed = torch.stack([picture for picture, _ in found])  # (T, C, H, W)
    after = classifier.predict(changed)
    amounts = (changed.float() - image.float()).abs().sum(dim=(1, 2, 3)) / 255 / image.shape[0]
    return [
        Counterfactual(
            image,
            changed[place],
            answer,
            target,
            classifier.classes,
            dabs,
            float(amounts[place]),
            before,
            after[place],
            bool(dabs) and int(after[place].argmax()) == target,
        )
        for place, (target, (_, dabs)) in enumerate(zip(wanted, found, strict=True))
    ]


class _Search:
    """All attempts at once, one for each class wanted and each tool, and a dab a round."""

    def __init__(self, network: nn.Module, image: Tensor, wanted: list[int]) -> None:
        self.network = network
        self.original = scaled(image[None])  # (1, C, H, W)
        side = max(image.shape[1:])
        self.drawn = _drawn(image)
        goals = _ink_and_paper(self.original) if self.drawn else _blurred(self.original)
        self.kinds, self.goals = list(goals), torch.stack(list(goals.values()))  # (kinds, C, H, W)
        radii = [r * max(1.0, side / 28) for r in RADII] if self.drawn else [side // p / 2 for p in COVERS]
        self.targets = torch.tensor(wanted).repeat_interleave(len(radii))  # (A,)
        self.radii = torch.tensor(radii).repeat(len(wanted))
        self.images = self.original.repeat(len(self.targets), 1, 1, 1)  # (A, C, H, W)
        self.dabs: list[list[Dab]] = [[] for _ in self.targets]
        self.flipped = torch.zeros(len(self.targets), dtype=torch.bool)

    def run(self) -> None:
        """Dab until every class is reached, or no attempt may go on."""
        for _ in range(MOST_DABS if self.drawn else MOST_COVERS):
            going = torch.nonzero(self._going())[:, 0]
            if not len(going):
                return
            self._dab(going)

    def best(self, target: int) -> tuple[Tensor, tuple[Dab, ...]]:
        """The picture least changed that is given `target`, with its dabs; without any where none is."""
        reached = torch.nonzero((self.targets == target) & self.flipped)[:, 0]
        if not len(reached):
            return _as_bytes(self.original)[0], ()
        least = int(reached[self._amounts()[reached].argmin()])
        picture, dabs = self._spared(least)
        return _as_bytes(picture[None])[0], tuple(dabs)

    def _going(self) -> Tensor:
        """Which attempts are unfinished and have not yet changed more than one that arrived, (A,)."""
        amounts = self._amounts()
        arrived = torch.where(self.flipped, amounts, float("inf"))
        same = self.targets[:, None] == self.targets  # (A, A)
        least = torch.where(same, arrived, float("inf")).amin(dim=1)
        return ~self.flipped & (amounts < least)

    def _amounts(self) -> Tensor:
        return (self.images - self.original).abs().sum(dim=(1, 2, 3))

    def _dab(self, going: Tensor) -> None:
        """One more dab for each attempt: the best, when run, of those the gradient proposes."""
        images, targets = self.images[going], self.targets[going]
        kinds, rows, columns = self._proposals(images, self._gradient(images, targets), self.radii[going])
        masks = self._masks(rows, columns, self.radii[going][:, None])  # (G, P, H, W)
        tried = _painted(images[:, None], masks, self.goals[kinds])  # (G, P, C, H, W)
        repeated = targets.repeat_interleave(tried.shape[1])
        leads = self._leads(tried.flatten(0, 1), repeated).reshape(tried.shape[:2])
        values, choices = leads.max(dim=1)
        self.images[going] = tried[torch.arange(len(going)), choices]
        self.flipped[going] = values > 0
        for place, (number, choice) in enumerate(zip(going.tolist(), choices.tolist(), strict=True)):
            kind = self.kinds[int(kinds[place, choice])]
            spot = int(rows[place, choice]), int(columns[place, choice])
            self.dabs[number].append(Dab(kind, *spot, float(self.radii[number])))

    def _gradient(self, images: Tensor, targets: Tensor) -> Tensor:
        """The gradient of the target's lead over the best other class, (G, C, H, W)."""
        images = images.detach().clone().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(_lead(scores_of(self.network, images), targets).sum(), images)[0]

    def _proposals(self, images: Tensor, gradient: Tensor, radii: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where the gradient promises most from one dab: kinds, rows and columns, int64 (G, P) each."""
        effects = (gradient[:, None] * (self.goals - images[:, None])).sum(dim=2)  # (G, kinds, H, W)
        promised = torch.empty_like(effects)
        for radius in set(radii.tolist()):
            chosen, stamp = radii == radius, self._stamp(radius)
            single = effects[chosen].flatten(0, 1)[:, None]
            sums = functional.conv2d(single, stamp[None, None], padding=stamp.shape[0] // 2)
            promised[chosen] = sums.reshape(effects[chosen].shape)
        height, width = effects.shape[2:]
        number = PROPOSALS if self.drawn else PLACES_COVERED
        spots = promised.flatten(1).topk(min(number, promised[0].numel()), dim=1).indices  # (G, P)
        return spots // (height * width), spots // width % height, spots % width

    def _stamp(self, radius: float) -> Tensor:
        """How strongly a tool acts around its centre, (k, k), k odd, 0..1."""
        reach = int(radius + 0.5)
        line = torch.arange(-reach, reach + 1.0)
        return self._strength(line[:, None], line, radius)

    def _masks(self, rows: Tensor, columns: Tensor, radii: Tensor) -> Tensor:
        """How strongly dabs at those places act on every pixel, (..., H, W)."""
        height, width = self.original.shape[2:]
        down = torch.arange(height)[:, None] - rows[..., None, None]  # (..., H, 1)
        across = torch.arange(width) - columns[..., None, None]  # (..., 1, W)
        return self._strength(down, across, radii[..., None, None])

    def _strength(self, down: Tensor, across: Tensor, radius: Tensor | float) -> Tensor:
        """A round pen with a soft edge, or a square cover, by the distance from its centre."""
        if self.drawn:
            return (radius + 0.5 - (down.square() + across.square()).sqrt()).clamp(0, 1)
        return (torch.maximum(down.abs(), across.abs()) <= radius).float()

    def _leads(self, images: Tensor, targets: Tensor) -> Tensor:
        """By how much the score of the target is above that of every other class, (N,)."""
        with torch.no_grad():
            size = max(1, VALUES_A_BATCH // images[0].numel())
            parts = [scores_of(self.network, part) for part in torch.split(images, size)]
        return _lead(torch.cat(parts), targets)

    def _spared(self, number: int) -> tuple[Tensor, list[Dab]]:
        """The picture and dabs of an attempt, without every dab that is not needed."""
        kept, image = self.dabs[number], self.images[number]
        for dab in self.dabs[number][:-1]:
            fewer = [other for other in kept if other is not dab]
            picture = self._redrawn(fewer)
            if float(self._leads(picture[None], self.targets[number : number + 1])[0]) > 0:
                kept, image = fewer, picture
        return image, kept

    def _redrawn(self, dabs: list[Dab]) -> Tensor:
        image = self.original[0]
        for dab in dabs:
            place = torch.tensor(dab.row), torch.tensor(dab.column)
            mask = self._masks(*place, torch.tensor(dab.radius))
            image = _painted(image, mask, self.goals[self.kinds.index(dab.kind)])
        return image


def _drawn(image: Tensor) -> bool:
    """Whether a picture (C, H, W) is drawn on; others are covered in part."""
    return image.shape[0] == 1 and max(image.shape[1:]) <= PEN_SIDE


def _lead(scores: Tensor, targets: Tensor) -> Tensor:
    """The score of the target less the largest other one, (N,)."""
    own = scores.gather(1, targets[:, None])[:, 0]
    return own - scores.scatter(1, targets[:, None], float("-inf")).amax(dim=1)


def _painted(images: Tensor, masks: Tensor, goals: Tensor) -> Tensor:
    """Pictures (..., C, H, W) brought to `goals` where `masks` (..., H, W) is 1; in steps of a byte."""
    return (images + masks[..., None, :, :] * (goals - images)).mul_(255).round_().div_(255)


def _ink_and_paper(image: Tensor) -> dict[str, Tensor]:
    """What a pen adds and what a rubber leaves, (C, H, W) each."""
    paper = blank(image).expand_as(image)[0]
    return {"add": (paper < 0.5).float(), "erase": paper}


def _blurred(image: Tensor) -> dict[str, Tensor]:
    """What a cover shows: the picture without its detail, (C, H, W)."""
    size = (image.shape[2], image.shape[3])
    coarse = functional.adaptive_avg_pool2d(image, (min(4, size[0]), min(4, size[1])))
    return {"cover": functional.interpolate(coarse, size, mode="bilinear", align_corners=False)[0]}


def _as_bytes(images: Tensor) -> Tensor:
    return images.mul(255).round().to(torch.uint8)
