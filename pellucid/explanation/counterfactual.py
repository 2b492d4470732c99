"""Counterfactuals: a small edit of a picture, by pen, eraser or cover, that changes the prediction.

After counterfactual explanations (Wachter et al., arXiv:1711.00399) and pertinent negatives (Dhurandhar et
al., arXiv:1802.07623), with a pen in place of an optimiser: the gradient proposes places, running the network
on the edited picture decides among them, and the result is run once more as `predict` runs it. The search is
not exhaustive: a smaller edit may exist.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pellucid.assets import constants
from pellucid.classifier import Classifier
from pellucid.errors import UsageError
from pellucid.explanation.activations import preserved_state
from pellucid.explanation.faithfulness import empty_picture
from pellucid.formatting import percent
from pellucid.inference import batch_size, scaled
from pellucid.language import lazy_ngettext, translate

_LIMITS = constants("counterfactual")  # those of assets/pad/counterfactual.js, too
PEN_SIDE: int = _LIMITS["pen_side"]  # gray pictures up to this side are drawn on; others are covered in part
PEN_REFERENCE: int = _LIMITS["pen_reference"]  # side of the picture for which radii are in pixels
RADII: list[float] = _LIMITS["radii"]  # larger pens for larger pictures
COVERS: list[int] = _LIMITS["covers"]  # a cover is the side of the picture divided by this
COVER_CELLS: int = _LIMITS["cover_cells"]  # a side: what a cover leaves of a picture
MAX_EDITS: int = _LIMITS["max_edits"]
MAX_COVERS: int = _LIMITS["max_covers"]  # more would hide the picture
PROPOSALS: int = _LIMITS["proposals"]  # places tried for each pen and class at every edit
COVER_PROPOSALS: int = _LIMITS["cover_proposals"]  # of covers, whose pictures are larger and take longer
LIKELY: int = _LIMITS["likely"]  # classes tried first when any other will do

CAVEAT = (
    "This is the network's decision boundary, not a person's: if one gray dot flips the prediction, the "
    "network is fragile."
)


@dataclass(frozen=True)
class Edit:
    """One edit: `kind` is "add", "erase" or "cover"; centre and radius in pixels."""

    kind: str
    row: int
    column: int
    radius: float


@dataclass(frozen=True, eq=False)
class Counterfactual:
    """A picture edited a little so that the prediction changes.

    image, changed  uint8 (C, H, W), before and after
    answer, target  the class predicted before, and the class wanted
    edits           in order
    amount          the change as a number of full pixels: the sum of all differences / 255 / C
    before, after   probabilities (K,) for both pictures
    confirmed       whether `predict` gives `target` for the changed picture
    """

    image: Tensor
    changed: Tensor
    answer: int
    target: int
    classes: tuple[str, ...]
    edits: tuple[Edit, ...]
    amount: float
    before: Tensor
    after: Tensor
    confirmed: bool

    def __repr__(self) -> str:
        return f"Counterfactual({self.sentence})"

    @property
    def sentence(self) -> str:
        """The edits and the prediction after them."""
        name, wanted = self.classes[self.answer], self.classes[self.target]
        if not self.confirmed:
            return failure_sentence([self])
        return translate(
            "%(answer)s -> %(wanted)s: %(what)s, %(amount)s pixels changed; then %(wanted)s with %(sure)s.",
            answer=name,
            wanted=wanted,
            what=self._edit_counts(),
            amount=f"{self.amount:.1f}",
            sure=percent(float(self.after[self.target])),
        )

    def _edit_counts(self) -> str:
        counts = {kind: sum(edit.kind == kind for edit in self.edits) for kind in ("add", "erase", "cover")}
        phrases = (
            lazy_ngettext("%(count)s dot added", "%(count)s dots added", counts["add"]),
            lazy_ngettext("%(count)s dot erased", "%(count)s dots erased", counts["erase"]),
            lazy_ngettext("%(count)s region covered", "%(count)s regions covered", counts["cover"]),
        )
        first, *second = (phrase for phrase in phrases if phrase.values["count"])
        return translate("%(first)s and %(second)s", first=first, second=second[0]) if second else str(first)


def failure_sentence(failed: Sequence[Counterfactual]) -> str:
    """The classes for which no edit of a picture was found: `failed` are its unconfirmed counterfactuals."""
    first, names = failed[0], ", ".join(each.classes[each.target] for each in failed)
    answer = first.classes[first.answer]
    if _drawn(first.image):
        return translate(
            "%(answer)s -> %(wanted)s: no change of up to %(most)s dots was found.",
            answer=answer, wanted=names, most=MAX_EDITS,
        )  # fmt: skip
    return translate(
        "%(answer)s -> %(wanted)s: no change of up to %(most)s covered regions was found.",
        answer=answer, wanted=names, most=MAX_COVERS,
    )  # fmt: skip


def small_change(classifier: Classifier, image: Tensor) -> Counterfactual:
    """A small edit of `image`, uint8 (C, H, W), that changes the prediction: the smallest of those tried.

    The three classes with the next highest scores are tried first, then all others. The result is not
    `confirmed` when nothing was found. Raises UsageError for a picture that does not fit the classifier.
    """
    order = classifier.logits(image[None])[0].argsort(descending=True).tolist()
    if len(order) < 2:
        raise UsageError("Expected a classifier of at least two classes.")
    results = counterfactuals(classifier, image, order[1 : 1 + LIKELY])
    if not any(result.confirmed for result in results):
        results += counterfactuals(classifier, image, order[1 + LIKELY :])
    return min(results, key=lambda result: (not result.confirmed, result.amount))


def counterfactuals(
    classifier: Classifier, image: Tensor, targets: Sequence[int] | None = None
) -> list[Counterfactual]:
    """A small edit from the predicted class to each other one, the smallest tried, in the order of `targets`.

    image    uint8 (C, H, W)
    targets  indices of the classes wanted; without them, all but the predicted one

    Raises UsageError for an index that is no class, for a picture that does not fit the classifier, and for a
    classifier whose pictures have several labels: there one label does not take another's place.
    """
    if classifier.multi_label:
        raise UsageError(
            "This network gives each label a probability of its own, so no change turns its answer into "
            "another class. Look at the evidence for one label instead, as with "
            f"`target={classifier.classes[0]}`."
        )
    before = classifier.predict(image[None])[0]  # (K,)
    answer = int(before.argmax())
    indices = range(len(classifier.classes)) if targets is None else targets
    for index in indices:
        if not 0 <= index < len(classifier.classes):
            raise UsageError(f"Expected a class from 0 to {len(classifier.classes) - 1}; got {index}.")
    wanted = [index for index in indices if index != answer]
    if not wanted:
        return []
    with preserved_state(classifier.network):
        search = _Search(classifier, image, wanted)
        search.run()
        best = [search.best(target) for target in wanted]
    changed = torch.stack([picture for picture, _ in best])  # (T, C, H, W)
    after = classifier.predict(changed)
    amounts = (changed.float() - image.float()).abs().sum(dim=(1, 2, 3)) / 255 / image.shape[0]
    return [
        Counterfactual(
            image,
            changed[index],
            answer,
            target,
            classifier.classes,
            edits,
            float(amounts[index]),
            before,
            after[index],
            bool(edits) and int(after[index].argmax()) == target,
        )
        for index, (target, (_, edits)) in enumerate(zip(wanted, best, strict=True))
    ]


class _Search:
    """All attempts at once, one for each wanted class and each tool, with one edit per round."""

    def __init__(self, classifier: Classifier, image: Tensor, wanted: list[int]) -> None:
        self.network, self.output = classifier.network, classifier.output
        self.original = scaled(image[None])  # (1, C, H, W)
        side = max(image.shape[1:])
        self.drawn = _drawn(image)
        goals = _pen_and_eraser(self.original) if self.drawn else _cover(self.original)
        self.kinds, self.goals = list(goals), torch.stack(list(goals.values()))  # (kinds, C, H, W)
        pens = [radius * max(1.0, side / PEN_REFERENCE) for radius in RADII]
        radii = pens if self.drawn else [side // part / 2 for part in COVERS]
        self.targets = torch.tensor(wanted).repeat_interleave(len(radii))  # (A,)
        self.radii = torch.tensor(radii).repeat(len(wanted))
        self.images = self.original.repeat(len(self.targets), 1, 1, 1)  # (A, C, H, W)
        self.edits: list[list[Edit]] = [[] for _ in self.targets]
        self.flipped = torch.zeros(len(self.targets), dtype=torch.bool)

    def run(self) -> None:
        """Adds edits until every class is reached, or no attempt may continue."""
        for _ in range(MAX_EDITS if self.drawn else MAX_COVERS):
            active = torch.nonzero(self._active())[:, 0]
            if not len(active):
                return
            self._edit(active)

    def best(self, target: int) -> tuple[Tensor, tuple[Edit, ...]]:
        """The least changed picture for which `target` is predicted, with its edits; no edits where there is
        none."""
        reached = torch.nonzero((self.targets == target) & self.flipped)[:, 0]
        if not len(reached):
            return _as_bytes(self.original)[0], ()
        attempt = int(reached[self._amounts()[reached].argmin()])
        picture, edits = self._without_needless_edits(attempt)
        return _as_bytes(picture[None])[0], tuple(edits)

    def _active(self) -> Tensor:
        """Which attempts have not reached their class, nor changed more than one that has, bool (A,)."""
        amounts = self._amounts()
        reached = torch.where(self.flipped, amounts, float("inf"))
        same = self.targets[:, None] == self.targets  # (A, A)
        least = torch.where(same, reached, float("inf")).amin(dim=1)
        return ~self.flipped & (amounts < least)

    def _amounts(self) -> Tensor:
        return (self.images - self.original).abs().sum(dim=(1, 2, 3))

    def _edit(self, active: Tensor) -> None:
        """One more edit for each active attempt, of those that the gradient proposes: the least change among
        those that reach the class when run, else the one that comes nearest to it."""
        images, targets = self.images[active], self.targets[active]
        kinds, rows, columns = self._proposals(images, self._gradient(images, targets), self.radii[active])
        masks = self._masks(rows, columns, self.radii[active][:, None])  # (G, P, H, W)
        candidates = _painted(images[:, None], masks, self.goals[kinds])  # (G, P, C, H, W)
        repeated = targets.repeat_interleave(candidates.shape[1])
        leads = self._leads(candidates.flatten(0, 1), repeated).reshape(candidates.shape[:2])
        amounts = (candidates - self.original).abs().sum(dim=(2, 3, 4))  # (G, P)
        reached = torch.where(leads > 0, amounts, float("inf"))
        flipped = (leads > 0).any(dim=1)
        choices = torch.where(flipped, reached.argmin(dim=1), leads.argmax(dim=1))
        self.images[active] = candidates[torch.arange(len(active)), choices]
        self.flipped[active] = flipped
        for index, (attempt, choice) in enumerate(zip(active.tolist(), choices.tolist(), strict=True)):
            kind = self.kinds[int(kinds[index, choice])]
            centre = int(rows[index, choice]), int(columns[index, choice])
            self.edits[attempt].append(Edit(kind, *centre, float(self.radii[attempt])))

    def _gradient(self, images: Tensor, targets: Tensor) -> Tensor:
        """The gradient (G, C, H, W) of the target's lead over the best other class."""
        images = images.detach().clone().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(
                _lead(self.output.scores(self.network, images), targets).sum(), images
            )[0]

    def _proposals(self, images: Tensor, gradient: Tensor, radii: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The edits with the largest effect by the gradient: kinds, rows and columns, int64 (G, P) each."""
        effects = (gradient[:, None] * (self.goals - images[:, None])).sum(dim=2)  # (G, kinds, H, W)
        promised = torch.empty_like(effects)  # summed over the area of the tool
        for radius in set(radii.tolist()):
            chosen = radii == radius
            sums = self._stamped(effects[chosen].flatten(0, 1)[:, None], radius)
            promised[chosen] = sums.reshape(effects[chosen].shape)
        height, width = effects.shape[2:]
        count = PROPOSALS if self.drawn else COVER_PROPOSALS
        indices = promised.flatten(1).topk(min(count, promised[0].numel()), dim=1).indices  # (G, P)
        return indices // (height * width), indices // width % height, indices % width

    def _stamped(self, effects: Tensor, radius: float) -> Tensor:
        """The sums of effects (N, 1, H, W) under a tool around each pixel, by its strength there."""
        reach = int(radius + 0.5)
        line = torch.arange(-reach, reach + 1.0)
        if self.drawn:
            stamp = self._strength(line[:, None], line, radius)  # (k, k), k odd
            return functional.conv2d(effects, stamp[None, None], padding=reach)
        side = self._strength(line, torch.zeros(1), radius)  # a square is a row of columns
        rows = functional.conv2d(effects, side[None, None, :, None], padding=(reach, 0))
        return functional.conv2d(rows, side[None, None, None, :], padding=(0, reach))

    def _masks(self, rows: Tensor, columns: Tensor, radii: Tensor) -> Tensor:
        """The strength of edits at those places on every pixel, (..., H, W)."""
        height, width = self.original.shape[2:]
        down = torch.arange(height)[:, None] - rows[..., None, None]  # (..., H, 1)
        across = torch.arange(width) - columns[..., None, None]  # (..., 1, W)
        return self._strength(down, across, radii[..., None, None])

    def _strength(self, down: Tensor, across: Tensor, radius: Tensor | float) -> Tensor:
        """Of a round pen with a soft edge, or of a square cover, by the distance from its centre."""
        if self.drawn:
            return (radius + 0.5 - (down.square() + across.square()).sqrt()).clamp(0, 1)
        return (torch.maximum(down.abs(), across.abs()) <= radius).float()

    def _leads(self, images: Tensor, targets: Tensor) -> Tensor:
        """The score of the target less that of the best other class, (N,)."""
        with torch.no_grad():
            size = batch_size(self.network, images)
            parts = [self.output.scores(self.network, part) for part in torch.split(images, size)]
        return _lead(torch.cat(parts), targets)

    def _without_needless_edits(self, attempt: int) -> tuple[Tensor, list[Edit]]:
        """The picture and edits of an attempt, without the edits that are not needed."""
        needed, image = self.edits[attempt], self.images[attempt]
        for edit in self.edits[attempt][:-1]:
            fewer = [other for other in needed if other is not edit]
            picture = self._redrawn(fewer)
            if float(self._leads(picture[None], self.targets[attempt : attempt + 1])[0]) > 0:
                needed, image = fewer, picture
        return image, needed

    def _redrawn(self, edits: list[Edit]) -> Tensor:
        image = self.original[0]
        for edit in edits:
            centre = torch.tensor(edit.row), torch.tensor(edit.column)
            mask = self._masks(*centre, torch.tensor(edit.radius))
            image = _painted(image, mask, self.goals[self.kinds.index(edit.kind)])
        return image


def _drawn(image: Tensor) -> bool:
    """Whether a picture (C, H, W) is drawn on; others are partly covered."""
    return image.shape[0] == 1 and max(image.shape[1:]) <= PEN_SIDE


def _lead(scores: Tensor, targets: Tensor) -> Tensor:
    """The score of the target less the largest other one, (N,)."""
    target_scores = scores.gather(1, targets[:, None])[:, 0]
    return target_scores - scores.scatter(1, targets[:, None], float("-inf")).amax(dim=1)


def _painted(images: Tensor, masks: Tensor, goals: Tensor) -> Tensor:
    """Pictures (..., C, H, W) blended with `goals` by `masks` (..., H, W), rounded to bytes / 255."""
    return (images + masks[..., None, :, :] * (goals - images)).mul_(255).round_().div_(255)


def _pen_and_eraser(image: Tensor) -> dict[str, Tensor]:
    """What a pen and an eraser leave, (C, H, W) each: ink and paper."""
    paper = empty_picture(image).expand_as(image)[0]
    return {"add": (paper < 0.5).float(), "erase": paper}


def _cover(image: Tensor) -> dict[str, Tensor]:
    """What a cover leaves: the picture without its detail, (C, H, W)."""
    size = (image.shape[2], image.shape[3])
    coarse = functional.adaptive_avg_pool2d(image, (min(COVER_CELLS, size[0]), min(COVER_CELLS, size[1])))
    return {"cover": functional.interpolate(coarse, size, mode="bilinear", align_corners=False)[0]}


def _as_bytes(images: Tensor) -> Tensor:
    return images.mul(255).round().to(torch.uint8)
