"""What a person's pattern finds in names: in a process of its own, with an end.

A pattern comes from the command line, or from the folder of a run that somebody else made. Some never end,
such as `(([a-z]+)+)+$`, and Python's own matcher cannot be interrupted. So a child does it, and is ended in
time.
"""

import json
import subprocess
import sys
from collections.abc import Sequence

from pellucid.errors import UsageError

SECONDS, SECONDS_PER_NAME = 10.0, 0.001
LONGEST = 1_000  # characters of a pattern
# It reads (pattern, names) and writes what was found in each, or why the pattern is none.
COMMAND = """
import json, re, sys
pattern, names = json.load(sys.stdin)
try:
    found = [re.search(pattern, name) for name in names] if re.compile(pattern) else []
except (re.error, OverflowError, RecursionError, MemoryError) as error:
    json.dump(str(error), sys.stdout)
else:
    parts = ["" if one is None else "/".join(part or "" for part in one.groups()) or one[0] for one in found]
    json.dump(parts, sys.stdout)
"""


def found_in(names: Sequence[str], pattern: str, *, argument: str, seconds: float | None = None) -> list[str]:
    """What the pattern's groups capture in each name, joined by "/", or, without groups, what it matches; ""
    where it is not found.

    argument  what a message calls the pattern, such as "`label_from=...` is not a valid pattern"
    seconds   after which it is ended, beside a little for each name; SECONDS where none are given

    Raises UsageError where the pattern is none, or takes longer.
    """
    if len(pattern) > LONGEST:
        raise UsageError(f"{argument}: expected up to {LONGEST:,} characters; got {len(pattern):,}.")
    limit = (SECONDS if seconds is None else seconds) + SECONDS_PER_NAME * len(names)
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", COMMAND],
            input=json.dumps([pattern, list(names)]).encode(),
            capture_output=True,
            timeout=limit,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"{argument}: it takes longer than {limit:.0f} seconds. Leave out repetitions within "
            "repetitions, as in '([a-z]+)+'."
        ) from None
    except (subprocess.CalledProcessError, OSError) as error:
        raise UsageError(f"{argument}: it could not be looked for ({error}).") from error
    found = json.loads(done.stdout)
    if isinstance(found, str):
        raise UsageError(f"{argument}: {found}.")
    return list(found)
