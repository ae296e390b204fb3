"""Lists for people, without the study: load an exported folder, ask for lists, serve them.

``recommender.py`` is what a user sees, ``engine.py`` computes.  ``export.py`` writes an exported
folder and ``folder.py`` reads it, ``outcome.py`` makes promises, ``app.py`` is the web service.
Nothing here needs notebooks, DVC or params.yaml.
"""
