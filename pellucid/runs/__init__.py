"""The folder a training leaves behind: fit fills it, Run reads it, resume goes on with it."""

# What a run's folder may hold before there is anything to go on with; see `fit`.
BEGINNING = (
    "recipe.json", "environment.json", "split.csv", "findings.json", "excluded.csv", "relabelled.csv",
    "seen.csv", "snapshots.safetensors", "manifest.json",
)  # fmt: skip
