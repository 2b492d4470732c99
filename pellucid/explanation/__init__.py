"""Looking inside: what every layer makes of a picture, and where the evidence for an answer lies."""
