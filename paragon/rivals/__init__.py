"""What generation is compared with: chapter 5."""
