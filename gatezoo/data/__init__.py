"""Data sets: one reader a file, and the joint transforms of picture and labels."""

from .folder import FolderDataset

__all__ = ["FolderDataset"]
