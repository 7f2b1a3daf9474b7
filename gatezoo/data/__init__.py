"""Data sets: readers, joint transforms of image, labels, depth and instances, and the check of a folder."""

from .base import ExtraMap, Sample, SegmentationDataset
from .classes import read_classes
from .create import DATASETS, create_dataset, dataset_for_task
from .datasets.coco import CocoInstances, coco_masks
from .datasets.folder import FolderDataset, list_dataset
from .files.pairs import FolderLayout
from .instances import InstanceMaskDataset, detection_collate

__all__ = [
    "DATASETS",
    "CocoInstances",
    "ExtraMap",
    "FolderDataset",
    "FolderLayout",
    "InstanceMaskDataset",
    "Sample",
    "SegmentationDataset",
    "coco_masks",
    "create_dataset",
    "dataset_for_task",
    "detection_collate",
    "list_dataset",
    "read_classes",
]
