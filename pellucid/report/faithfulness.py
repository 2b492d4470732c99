"""The section on whether the evidence maps can be trusted."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pellucid.language import translate
from pellucid.plots.images import Atlas
from pellucid.report.context import ReportContext
from pellucid.report.evidence import MethodEvidence


@dataclass(frozen=True)
class FaithfulnessSection:
    """What the tests say of every method, and its map of each example.

    left_out  the methods that were not tested, as that would take too long on this network
    unfit     the methods that make no maps of this network
    examples  what each example is one of, in the order of the maps
    several_labels  whether pictures can have several labels; the maps are then of the most probable one
    """

    verdict: str
    caveat: str
    methods: tuple[MethodEvidence, ...]
    left_out: list[str]
    unfit: list[str]
    examples: list[str]
    several_labels: bool
    atlases: Mapping[str, Atlas] = field(default_factory=dict)


def gather(context: ReportContext) -> FaithfulnessSection:
    """What the tests say of every method, and its map of each example."""
    evidence = context.evidence
    return FaithfulnessSection(
        verdict=evidence.faithfulness.verdict,
        caveat=evidence.caveat,
        methods=evidence.methods,
        left_out=[translate(name) for name in evidence.faithfulness.left_out],
        unfit=[translate(name) for name, _ in evidence.faithfulness.unfit],
        examples=[example.kind for example in context.examples],
        several_labels=context.splits.test.multi_label,
    )
