"""What a classifier is worth on pictures it never saw."""
