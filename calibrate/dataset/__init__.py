"""A folder of images becomes a labelled data set."""

from calibrate.dataset.data import GOOD, Dataset, DatasetError, LeftOut, Sample
from calibrate.dataset.folder import dataset_from_folder
from calibrate.dataset.mask_checks import check_masks
from calibrate.dataset.masks import read_masks
from calibrate.dataset.names import images_in, list_names

__all__ = [
    "GOOD",
    "Dataset",
    "DatasetError",
    "LeftOut",
    "Sample",
    "check_masks",
    "dataset_from_folder",
    "images_in",
    "list_names",
    "read_masks",
]
