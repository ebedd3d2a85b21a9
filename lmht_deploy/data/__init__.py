"""Data sets, recordings and window files behind one function.

`load` reads any of them as `Windows`: integers `[N, T_in, C, H, W]` with labels and class names.
`available` lists the data sets that `load` knows by name. Nothing is downloaded, except images from
the Hugging Face hub when no `root` is given.

Modules:
    images: Still images and how their pixels become integers.
    cifar10dvs: Emulated recordings of CIFAR10-DVS.
"""

from __future__ import annotations

from lmht_deploy.events.windows import By, WindowRule

from ._labels import match_classes
from ._load import load
from ._registry import DataSet, available, find_data_set
from ._sampling import balanced_sample, describe_sample
from ._schemes import split_list
from ._sources import find_source
from ._splits import SplitRule
from ._windows import Kind, Progress, Windows

__all__ = [
    "By",
    "DataSet",
    "Kind",
    "Progress",
    "SplitRule",
    "WindowRule",
    "Windows",
    "available",
    "balanced_sample",
    "describe_sample",
    "find_data_set",
    "find_source",
    "load",
    "match_classes",
    "split_list",
]
