"""Raw data to sequences, splits and candidate lists: chapter 1.

:func:`~paragon.data.fetch.fetch` asks ``registry`` where a dataset is; ``formats`` reads what was
published as ``raw`` tables; ``atomic`` is the form in which they lie in ``data/``, and ``table``
checks them: a :class:`~paragon.data.table.Dataset`.  :func:`~paragon.data.split.prepare` makes
:class:`~paragon.data.sequences.Sequences` of that, with ``negatives``, and ``large`` the same of
files that do not fit in memory.  ``describe`` has it all in numbers.
"""
