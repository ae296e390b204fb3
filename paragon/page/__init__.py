"""The demo: one self-contained page in which the adapter is generated while one drags a weight."""
