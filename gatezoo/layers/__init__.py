"""Tensor building blocks without knowledge of networks: convolution, resizing, grid pooling, normalization."""
