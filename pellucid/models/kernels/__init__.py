"""Convolution, ReLU and pooling fused into one kernel, compiled on this machine where possible."""
