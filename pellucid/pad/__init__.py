"""The pad: draw, and every layer of a network lowered into the page answers."""
