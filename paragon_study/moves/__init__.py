"""Adapters moved to another recommender."""
