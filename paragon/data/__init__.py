"""Raw data to sequences, splits and candidate lists: chapter 1."""
