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
from captioning.datasets.splits import read_split, select

__all__ = [
    "DATASETS", "Dataset", "find_pictures", "read_captions", "read_dataset", "read_datasets",
    "read_split", "read_text", "results", "results_id", "select",
]  # fmt: skip
