"""Decoders of label, depth, MATLAB and COCO files, and checks of folder layouts."""
