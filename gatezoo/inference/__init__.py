"""Run a network on images: input preparation, inference modes, iterations, gate maps, output files."""
