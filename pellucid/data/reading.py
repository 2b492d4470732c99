"""Your own pictures, read: the three parts, and what was found on the way."""

from dataclasses import dataclass

from pellucid.data.dataset import Splits
from pellucid.data.listing import Listing
from pellucid.data.picture import Preprocess
from pellucid.data.store import Packed


@dataclass(frozen=True, eq=False)
class Reading:
    """What was read of a person's data."""

    splits: Splits
    preprocess: Preprocess
    listing: Listing
    packed: Packed
    notes: tuple[str, ...]
