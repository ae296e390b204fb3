"""Re-ranking: rules that reorder a list for diversity, and the choice of their settings."""
