"""How well a classifier does on pictures it never saw."""

EVALUATION, PREDICTIONS = "evaluation.json", "predictions.csv"  # in a run's folder
FORMAT = 1  # of evaluation.json; docs/evaluation.md has its keys
