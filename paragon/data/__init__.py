"""Raw data to sequences, splits and candidate lists: chapter 1.

The way of the data, and the modules it passes.  :func:`~paragon.data.fetch.fetch` asks
``registry`` what is known of a dataset and gets its ``files``; ``formats`` turns what was
published into ``raw`` tables; ``atomic`` is the form in which they lie in ``data/``, and ``checks``
makes them a :class:`~paragon.data.table.Dataset`.  :func:`~paragon.data.split.prepare` makes
:class:`~paragon.data.sequences.Sequences` of that, with ``negatives``, and
:func:`~paragon.data.large.prepare_large` the same of files that do not fit in memory.
``describe`` has it all in numbers.
"""
