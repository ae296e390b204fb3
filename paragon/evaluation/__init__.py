"""Every method measured over the whole range of weights: chapter 6."""
