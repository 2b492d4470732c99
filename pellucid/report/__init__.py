"""Pages that need nothing else, made from a run: one file per section."""
