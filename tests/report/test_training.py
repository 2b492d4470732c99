"""The section about the training names what was tried before it."""

from dataclasses import replace

from pellucid.data.dataset import Splits
from pellucid.evaluation.evaluation import Evaluation
from pellucid.report import report
from pellucid.report.templates import environment_of_pages
from pellucid.runs.choose import Candidate
from pellucid.runs.run import Run


def test_the_networks_that_were_tried_are_listed_and_the_chosen_one_is_marked(
    made: tuple[Run, Splits, Evaluation],
) -> None:
    run, splits, evaluation = made
    tried = [
        Candidate("lite0", 12.0, 0.75, 0.9),
        Candidate("compact", 900.0),
        Candidate("tutorial", 8.0, 0.8125, 0.7, chosen=True),
    ]
    environment = {**run.environment, "candidates": [candidate.to_json() for candidate in tried]}
    (entry,) = (entry for entry in report.SECTIONS if entry[0] == "training")
    for given, expected in ((environment, True), (run.environment, False)):
        context = report.ReportContext(replace(run, environment=given), splits, evaluation)
        body = str(report.render_section(environment_of_pages(), 3, entry, context).body)
        assert ("Networks that were tried" in body) == expected
        assert (
            '<tr class="kept"><td>tutorial</td><td>0.8125</td><td>0.7000</td><td>8.0</td>' in body
        ) == expected
        assert ("not tried: it would take longer than the budget" in body) == expected
