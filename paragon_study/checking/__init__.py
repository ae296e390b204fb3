"""Compare results with those of a commit, and two versions with each other."""
