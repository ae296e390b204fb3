"""``python -m paragon``: the command line, which is the study's (:mod:`paragon_study`)."""

from paragon_study.command_line import main

if __name__ == "__main__":
    main()
