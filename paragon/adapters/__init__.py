"""Adapters on a frozen backbone, tuned for many weights at once: chapter 3."""
