"""Gates: the mechanisms the zoo exists for, one a file, each built from channel counts alone."""
