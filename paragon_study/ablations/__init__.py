"""What one choice buys, point by point, outside the default study."""
