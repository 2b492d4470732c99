"""How well a classifier does on pictures it never saw."""

EVALUATION, PREDICTIONS, HELD_OUT = "evaluation.json", "predictions.csv", "held_out.csv"  # in a run's folder
FORMAT = 1  # of evaluation.json; docs/evaluation.md has its keys
