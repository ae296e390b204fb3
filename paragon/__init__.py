"""Paragon: generate recommender adapters from preference weights.

The package stands behind the notebooks of this repository: each stage of the
study is a notebook, and each notebook calls the functions of one or two modules
here.  ``README.md`` has the table that leads from notebook to module.
"""

__version__ = "0.1.0"
