"""Figures, tables and sentences about results; nothing here computes a result."""
