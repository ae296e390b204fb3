"""Recommenders to be frozen and adapted, one file each."""

from paragon.backbones.base import Backbone, Context, cached_states, context_of
from paragon.backbones.sasrec import SASRec

BACKBONES: dict[str, type[Backbone]] = {"sasrec": SASRec}

__all__ = ["BACKBONES", "Backbone", "Context", "cached_states", "context_of"]
