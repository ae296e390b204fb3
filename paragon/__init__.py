"""Paragon: generate recommender adapters from preference weights.

>>> from paragon import Recommender
>>> Recommender.load("model").recommend(["50", "181"], weights=[0.7, 0.3])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paragon.data.table import Dataset
    from paragon.errors import ParagonError
    from paragon.serving.lists import History, Recommendations
    from paragon.serving.recommender import Recommender

__version__ = "0.1.0"
__all__ = ["Dataset", "History", "ParagonError", "Recommendations", "Recommender", "__version__"]

# Imported at first use, because torch takes a second to load.
_PLACES = {
    "Dataset": "paragon.data.table",
    "History": "paragon.serving.lists",
    "ParagonError": "paragon.errors",
    "Recommendations": "paragon.serving.lists",
    "Recommender": "paragon.serving.recommender",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'paragon' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
