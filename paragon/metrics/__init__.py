"""Metrics of ranked lists and of control, and their statistics: pure functions on arrays."""
