"""Metrics as pure functions on arrays: of ranked lists, of control, and their statistics."""
