"""Run a notebook as a stage of the pipeline, and end it cleanly."""
