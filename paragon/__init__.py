"""Paragon: generate recommender adapters from preference weights.

The folders are named like the chapters and stages of the study: data, backbones,
adapters, generator, rivals and evaluation.  Below them are objectives and metrics,
above them report (figures, tables, findings) and study (what runs it all).
"""

__version__ = "0.1.0"
