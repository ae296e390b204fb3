"""What runs a study.  Start with ``study.py``: where its parts are, and how they are loaded.

* Settings: ``settings.py`` checks what the sections of params.yaml say together; ``studies.py``
  knows which studies it has.
* Stages: ``runner.py`` executes a notebook, ``signals.py`` ends it and ``times.py`` says how long
  it takes; ``jobs.py`` trains side by side (``worker.py``: on a cluster); ``determinism.py``: the
  same bytes on every processor; ``memory.py`` keeps what is freed; ``locks.py``: what a killed
  DVC leaves half-written.
* Results: ``verify.py`` compares them with a commit, ``page.py`` shows that; ``diff.py`` compares
  two versions; ``executed.py`` copies notebooks to docs.
* Pipelines of their own: ``ablations.py``, ``transport.py`` and ``shared.py`` (with
  ``recommenders.py``), all on ``places.py``.
* For people: ``commands.py`` and ``export.py``, ``control_room.py``, ``lab.py``, ``own_data.py``,
  ``exercise.py``.
"""
