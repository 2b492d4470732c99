"""What a report leaves out of a network that was trained elsewhere, and why."""

from collections.abc import Mapping

from pellucid.files import read_json
from pellucid.language import Message, lazy_gettext
from pellucid.runs.elsewhere import elsewhere_in
from pellucid.runs.run import Run

WITHOUT_TRAIN = lazy_gettext("Left out: the pictures that the network learned from were not given.")


def left_out(run: Run) -> Mapping[str, Message]:
    """The sections that cannot be, by name, each with the reason; none of a run that was trained here."""
    known = elsewhere_in(run.environment)
    if known is None:
        return {}
    found = {
        "training": lazy_gettext(
            "This network was trained elsewhere: with which settings, for how long and on which pictures is "
            "not known here."
        ),
        "reproduce": lazy_gettext(
            "This network was trained elsewhere, so nothing here trains it again. The SHA-256 of its weights "
            "in this run is %(weights)s.",
            weights=read_json(run.folder / "model.json")["sha256"],
        ),
    }
    if not known.train:
        found |= dict.fromkeys(("causes", "shortcuts", "neighbours"), WITHOUT_TRAIN)
    return found
