"""The data sets' own files: captions, splits, and the pictures they belong to."""
# ruff: noqa: F401 - this is where others import them from

from captioning.datasets.captions import Captions, read_text
from captioning.datasets.coco import results, results_id
from captioning.datasets.combined import find_all_images, read_images_and_captions
from captioning.datasets.reading import DATASETS, find_images, read_captions, read_datasets
from captioning.datasets.selection import all_ids, described, read_splits, select, select_each
from captioning.datasets.splits import read_split
