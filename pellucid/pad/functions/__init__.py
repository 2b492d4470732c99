"""What each function of torch becomes: operations of the closed list, or a refusal in words.

`LOWERED` has every function that stays whole; torch takes any other apart first. Beside each stand the
arguments that it understands: another one that would change the numbers is refused.
"""

from pellucid.pad.functions import maps, places, pointwise, sums
from pellucid.pad.functions.table import Table

LOWERED: Table = {**maps.TABLE, **places.TABLE, **sums.TABLE, **pointwise.TABLE}
