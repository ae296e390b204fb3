"""What a notebook of the pipeline runs on: the study, its settings and its training jobs."""
