"""Draw images from arrays, without knowledge of networks."""
