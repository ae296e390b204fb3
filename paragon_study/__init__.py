"""The study around the method: pipeline, checks, course, demo, report, and trials of variants."""
