"""Gates: the mechanisms of the zoo, one per file, each built from channel counts alone."""
