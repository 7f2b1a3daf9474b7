"""Draw images from arrays; knows no network."""
