"""From a source of weights to tensors in a network: locate, verify, read, convert, load."""
