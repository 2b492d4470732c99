"""How well a classifier does on pictures it never saw."""
