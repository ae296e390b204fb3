"""Export trained recommenders, load them, compute lists, and serve them over HTTP."""
