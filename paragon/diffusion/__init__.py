"""Conditional Gaussian diffusion over vectors; knows nothing of recommenders.

``schedule`` adds noise and translates predictions, ``denoisers`` predict,
``samplers`` walk from noise to vectors with classifier-free guidance.
"""
