"""Methods that generation is compared with: chapter 5."""
