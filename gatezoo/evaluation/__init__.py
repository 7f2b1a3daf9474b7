"""Score a network on a data set and write reports."""
