"""`compare` on the command line."""

import json

from tests.asking import Ran


def test_compare_tells_it_and_writes_a_page(ran: Ran) -> None:
    done = ran("compare", "one", "two")
    assert done.returncode == 0, done.stderr
    for words in ("They disagree on", "linear CKA", "channels paired", "Page: compare.html"):
        assert words in done.stdout
    told = json.loads(ran("compare", "one", "two", "--json").stdout)
    assert len(told["cka"]["matrix"]) == len(told["cka"]["rows"])
    assert {"index", "first", "second", "label", "source"} <= set(told["disagreements"][0])
