"""The study as the notebooks use it: settings, artifacts, training jobs."""
