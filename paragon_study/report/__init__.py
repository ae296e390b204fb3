"""Figures, tables and words about results; nothing here computes a result.

What a notebook shows: ``figures`` draws, ``tables`` makes DataFrames, ``ablations.py`` puts the
tables of chapter 7 side by side.  What is written: ``documents.py`` the pages (numbers of
``findings.py`` and ``transport.py`` in templates, ``*.j2``), ``compare.py`` results/summary.md,
both with the Markdown tables of ``markdown.py``.  ``results.py`` reads the recorded studies,
``published.py`` what others report.  ``style.py`` has the looks that all figures share.
"""
