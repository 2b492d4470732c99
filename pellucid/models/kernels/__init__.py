"""Convolution, ReLU and pooling in one pass, compiled on this machine where that is possible."""
