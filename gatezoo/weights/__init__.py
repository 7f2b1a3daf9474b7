"""From a weight source to tensors in a network: locate, verify, read, convert, load."""
