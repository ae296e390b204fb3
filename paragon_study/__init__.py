"""What makes a study of the method: command line, pipeline, checks, course, figures, trials.

* ``pipeline``: what the stages compute with; ``study.py`` loads what they made.
* ``running``: notebooks as stages, times, locks; ``checking``: `verify`, its page and `diff`.
* ``course``: exercises, the lab, the control room; ``demo``: the page on which one drags weights.
* ``report``: figures, tables, claims; ``ablations``, ``moves``: trials beside the study.
"""
