"""A change that is shown was confirmed, and the least stands first."""

from pellucid.report import counterfactual
from pellucid.report.context import ReportContext


def test_a_change_that_is_shown_was_confirmed_and_the_least_stands_first(context: ReportContext) -> None:
    section_ = counterfactual.gather(context)
    assert section_.examined == len(section_.rows) >= 2
    for row in section_.rows:
        amounts = [float(change.amount) for change in row.changes if change.confirmed]
        assert amounts == sorted(amounts)
        others = set(context.evaluation.classes) - {row.picture.prediction}
        assert {change.prediction for change in row.changes} == others
        assert all((change.after is not None) == change.confirmed for change in row.changes)
        if row.smallest.confirmed:
            assert float(row.smallest.amount) == min(amounts)
