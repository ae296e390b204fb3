"""What a list is tuned for: differentiable losses and the weights between them."""
