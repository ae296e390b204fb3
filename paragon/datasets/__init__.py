"""Fetch, verify and read raw data into tables.

``fetch`` brings a dataset into ``data/`` as atomic files, ``load`` reads them
into a ``Dataset``, ``Dataset.from_frame`` makes one from tables in memory.
Nothing here knows of splits or of models.
"""

from paragon.datasets.atomic import read_atomic, write_atomic
from paragon.datasets.fetching import fetch, load
from paragon.datasets.registry import REGISTRY, Download, Entry, names, notice
from paragon.datasets.table import Dataset

__all__ = [
    "REGISTRY",
    "Dataset",
    "Download",
    "Entry",
    "fetch",
    "load",
    "names",
    "notice",
    "read_atomic",
    "write_atomic",
]
