"""Lists for people, without the study: load an exported folder, ask for lists, serve them.

``recommender.py`` is what a user sees.  What is asked is checked (``requests.py``), computed
(``engine.py``) and given back (``lists.py``); ``items.py`` is what is known of the items and
``outcome.py`` makes promises.  ``export.py`` writes an exported folder, with what ``measured.py``
finds and a backbone without people (``frozen.py``); ``folder.py`` reads it.  ``app.py`` is the web
service, ``limits.py`` what its clients may take.  Nothing here needs notebooks, DVC or params.yaml.
"""
