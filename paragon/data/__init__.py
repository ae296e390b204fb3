"""Read datasets, check them, and make sequences, splits and lists of candidates."""
