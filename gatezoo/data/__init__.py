"""Data sets: one reader a file, joint transforms of picture, labels, depth and objects, and the check of a folder."""

from .base import Layer, Sample, SegmentationDataset
from .classes import read_classes
from .create import DATASETS, open_dataset, reader_for
from .datasets.coco import CocoInstances, coco_masks
from .datasets.folder import FolderDataset, list_dataset
from .instances import InstanceMaps, detection_batch

__all__ = [
    "DATASETS",
    "CocoInstances",
    "FolderDataset",
    "InstanceMaps",
    "Layer",
    "Sample",
    "SegmentationDataset",
    "coco_masks",
    "detection_batch",
    "list_dataset",
    "open_dataset",
    "read_classes",
    "reader_for",
]
