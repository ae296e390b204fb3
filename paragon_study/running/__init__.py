"""Run notebooks as stages of the pipeline; record times; repair DVC's files."""
