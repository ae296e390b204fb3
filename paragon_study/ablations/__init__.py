"""Ablations: measure the effect of single choices, outside the default study."""
