"""What runs a study: files, jobs, notebooks, verification."""
