"""The data sets' own files: captions, splits, and the pictures they belong to."""

from captioning.datasets.coco import results, results_id
from captioning.datasets.form import Dataset, read_text
from captioning.datasets.reading import (
    DATASETS,
    find_pictures,
    read_captions,
    read_dataset,
    read_datasets,
)
from captioning.datasets.selection import (
    described,
    every_id,
    fingerprint,
    read_splits,
    select,
    select_each,
    select_for_training,
)
from captioning.datasets.several import find_all_pictures, read_with_pictures
from captioning.datasets.splits import read_split

__all__ = [
    "DATASETS", "Dataset", "described", "every_id", "find_all_pictures", "find_pictures",
    "fingerprint", "read_captions", "read_dataset", "read_datasets", "read_split", "read_splits",
    "read_text", "read_with_pictures", "results", "results_id", "select", "select_each",
    "select_for_training",
]  # fmt: skip
