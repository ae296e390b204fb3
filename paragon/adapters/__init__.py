"""Small modules on a frozen backbone, tuned for many preference weights (chapter 3)."""
