"""The demo: one self-contained page in which the adapter is generated while one drags a weight.

``bundle.py`` is what the page needs of a study, ``build.py`` makes one HTML file of it.  Each
script says which function of the package it mirrors.
"""
