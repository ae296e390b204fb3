"""The study around the method: notebooks as pipeline stages, checks, course, demo, report, trials.

Trials (``ablations``, ``moves``) are experiments outside the pipeline.
"""
