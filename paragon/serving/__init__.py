"""Lists for people, without the study: load an exported folder, ask for lists, serve them.

``recommender.py`` is what a user sees, ``lists.py`` what is asked and what comes back, computed by
``engine.py``; ``outcome.py`` makes promises, ``export.py`` writes and reads folders, ``service.py``
answers over HTTP.  Nothing here needs notebooks, DVC or params.yaml.
"""
