"""Small modules on a frozen backbone, tuned for many preference weights at once: chapter 3."""
