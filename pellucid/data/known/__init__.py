"""The data sets known by name: found where they lie or downloaded once, verified."""
