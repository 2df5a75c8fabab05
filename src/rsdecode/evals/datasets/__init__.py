"""Problems to solve, by the name of their data set."""

from rsdecode.evals.datasets.catalogue import DATASETS
from rsdecode.evals.datasets.entry import Dataset, HubSource
from rsdecode.evals.datasets.load import (
    dataset_digest,
    dataset_named,
    is_dataset,
    load_dataset,
    load_shuffled,
)

__all__ = [
    "DATASETS",
    "Dataset",
    "HubSource",
    "dataset_digest",
    "dataset_named",
    "is_dataset",
    "load_dataset",
    "load_shuffled",
]
