"""Figures, tables and words about results."""
