"""The differentiable losses that adapters are tuned for, and the weights between them."""
