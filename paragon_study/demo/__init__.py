"""The demo: one self-contained page that generates an adapter while the user moves a slider."""
