"""Your pictures decoded once into one file, found and checked the next time."""
