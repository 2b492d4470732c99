"""The section on test pictures that are unlike anything taught."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from pellucid.evaluation.metrics import wilson
from pellucid.evaluation.novelty import NOT_FINITE, NOT_HELD_OUT, NOT_KNOWN, STOPPED, TOO_FEW, evenly_spaced
from pellucid.explanation.neighbours import features_of
from pellucid.language import lazy_gettext, translate
from pellucid.models import PretrainedNetwork
from pellucid.plots.images import Atlas, fitted_atlas, zoom
from pellucid.report.context import JudgedPicture, ReportContext, judged_picture
from pellucid.report.opened import Counted, Opened, open_figures

MOST, MOST_PRETRAINED = 10_000, 500  # test pictures that are looked at
MOST_SHOWN, FIRST_SHOWN = 120, 12
MAX_ATLAS_CHARACTERS = 130_000  # of the data URL of the pictures
REASONS = {
    NOT_HELD_OUT: lazy_gettext("no picture was held out of the training that gave the weights"),
    NOT_KNOWN: lazy_gettext("what the network learned from is not known"),
    STOPPED: lazy_gettext("training was cut off"),
    TOO_FEW: lazy_gettext("too few pictures"),
    NOT_FINITE: lazy_gettext("the last hidden layer is not finite"),
}


@dataclass(frozen=True)
class UnlikePicture:
    """A test picture unlike anything taught, and the share of pictures held out that are nearer, 0..1."""

    picture: JudgedPicture
    nearer: float


@dataclass(frozen=True)
class Wrong:
    """How many of some pictures are predicted wrongly, and the share with its 95 % interval, 0..1."""

    wrong: int
    count: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class NoveltySection:
    """How many test pictures are unlike anything taught, whether they are wrong more often, and which.

    reason    why that cannot be told; "" where it can
    looked    how many of the `count` test pictures were looked at
    share     of these that are unlike, with its interval `low` to `high`, 0..1
    training  training pictures they are compared with
    held_out  pictures by which the threshold was chosen
    pictures  the most unlike first
    opened    what else figures open; None where nothing can be told
    """

    reason: str = ""
    count: int = 0
    looked: int = 0
    unlike: int = 0
    share: float = 0.0
    low: float = 0.0
    high: float = 0.0
    training: int = 0
    held_out: int = 0
    zoom: int = 1
    first: int = FIRST_SHOWN
    among_unlike: Wrong | None = None
    among_others: Wrong | None = None
    pictures: list[UnlikePicture] = field(default_factory=list)
    opened: Opened | None = None
    atlases: Mapping[str, Atlas] = field(default_factory=dict)


def gather(context: ReportContext) -> NoveltySection:
    """How many test pictures are unlike anything taught, and the most unlike of them."""
    run, test, evaluation = context.run, context.splits.test, context.evaluation
    if run.folds:
        return NoveltySection(
            translate("every picture is one that the network learned from, after its folds were judged")
        )
    if run.reference_fit.reason:
        return NoveltySection(str(REASONS.get(run.reference_fit.reason, run.reference_fit.reason)))
    reference = run.reference()
    pretrained = isinstance(run.classifier.network, PretrainedNetwork)
    chosen = evenly_spaced(len(test), MOST_PRETRAINED if pretrained else MOST)
    looked = test if len(chosen) == len(test) else test.subset(chosen)
    found = reference.novelty(features_of(run.classifier, looked))
    right = evaluation.right[chosen]
    farthest = found.distances.argsort(descending=True, stable=True)
    shown = farthest[found.unlike[farthest]][:MOST_SHOWN]
    atlas = fitted_atlas(looked.subset(shown).images, budget=MAX_ATLAS_CHARACTERS)
    unlike = int(found.unlike.sum())
    low, high = wilson(unlike / len(looked), len(looked))
    opened = open_figures(context, "novelty", _counted(chosen[farthest], right[farthest], unlike))
    return NoveltySection(
        count=len(test),
        looked=len(looked),
        unlike=unlike,
        share=unlike / len(looked),
        low=low,
        high=high,
        training=len(reference.features),
        held_out=len(reference.held_out),
        zoom=zoom(atlas, 56),
        among_unlike=_wrong(right[found.unlike]),
        among_others=_wrong(right[~found.unlike]),
        pictures=[
            UnlikePicture(
                judged_picture(context, int(chosen[index]), cell=atlas.cell(place)),
                float(found.percentiles[index]) / 100,
            )
            for place, index in enumerate(shown[: atlas.count].tolist())
        ],
        opened=opened,
        atlases={"unlike": atlas, "novelty": opened.atlas},
    )


def _counted(farthest: Tensor, right: Tensor, unlike: int) -> list[Counted]:
    """What the table counts beside unlike pictures; `farthest` are test pictures, the most unlike first, of
    which the first `unlike` are called that, `right` or not."""
    others, wrong = farthest[unlike:], ~right
    return [
        Counted(
            "unlike-wrong",
            translate("Unlike anything taught and predicted wrongly, the most unlike first"),
            farthest[:unlike][wrong[:unlike]],
        ),
        Counted("like", translate("Not unlike anything taught, the most unlike first"), others),
        Counted(
            "like-wrong",
            translate("Not unlike anything taught and predicted wrongly, the most unlike first"),
            others[wrong[unlike:]],
        ),
    ]


def _wrong(right: Tensor) -> Wrong | None:
    count, wrong = len(right), int((~right).sum())
    return Wrong(wrong, count, wrong / count, *wilson(wrong / count, count)) if count else None
