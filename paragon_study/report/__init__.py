"""Figures, tables and words about results; nothing here computes a result.

What a notebook shows: ``figures`` draws, ``tables`` makes DataFrames (those of notebook 7 are in
``paragon_study/ablations``).  What is written: ``compare.py`` writes results/summary.md and
all.csv, ``pages.py`` the tables and figures of README.md and docs/; ``claims.py`` checks the
sentences that people wrote there.  ``results.py`` reads the studies, ``style.py`` has the looks.
"""
