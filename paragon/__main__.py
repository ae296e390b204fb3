"""Run the command line of :mod:`paragon_study` as ``python -m paragon``."""

from paragon_study.command_line import main

if __name__ == "__main__":
    main()
