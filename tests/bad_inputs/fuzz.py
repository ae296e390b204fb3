"""One property of `test_fuzz`, with coverage to guide what is tried (Python 3.11 to 3.13, Linux)::

    pip install atheris
    python -m tests.bad_inputs.fuzz test_a_damaged_file_is_refused_or_read_right -max_total_time=600

atheris runs it until an assertion fails or the time is over; options are those of libFuzzer.
"""

import sys

import atheris

with atheris.instrument_imports(include=["paragon.data", "paragon.params", "paragon.storage"]):
    from tests.bad_inputs import test_fuzz

if __name__ == "__main__":
    test = getattr(test_fuzz, sys.argv.pop(1))
    atheris.Setup(sys.argv, test.hypothesis.fuzz_one_input)
    atheris.Fuzz()
