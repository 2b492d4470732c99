"""The folder a training leaves behind: fit fills it, Run reads it, resume goes on with it."""
