"""Results beside those of a commit, and two versions beside each other."""
