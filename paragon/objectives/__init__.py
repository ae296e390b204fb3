"""Differentiable losses for tuning adapters, and preference weights between them."""
