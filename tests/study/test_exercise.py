import numpy as np
import pytest
import torch

from paragon_study.course.exercise import RIGHT, UNANSWERED, check


def said(capsys, *arguments, **options):
    check(*arguments, **options)
    return capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (0.25, 0.25000001),
        (np.arange(3), torch.arange(3)),
        (["a", 1], ("a", 1.0)),
        (True, True),
        (float("nan"), None),  # what is undefined
    ],
)
def test_a_right_answer(capsys, answer, expected):
    assert said(capsys, answer, expected) == RIGHT


@pytest.mark.parametrize("answer", [..., (1, ...), [[...]]])
def test_no_answer_yet(capsys, answer):
    assert said(capsys, answer, 1) == UNANSWERED
    assert said(capsys, lambda x: answer, lambda x: 1, (0,)) == UNANSWERED


class Sulky:
    """An object that does not even say what it is."""

    def __str__(self):
        raise KeyError

    __float__ = __eq__ = __array__ = __str__


@pytest.mark.parametrize("expected", [1.0, "a", (1, 2)])
def test_nothing_that_is_answered_is_an_error(capsys, expected):
    endless = []
    endless.append(endless)
    for answer in (10**400, np.array(["a", "b"]), Sulky(), [Sulky(), 2], (1, Sulky()), endless):
        assert said(capsys, answer, expected).startswith("Not yet: ")

    def fails(_):
        raise ValueError(Sulky())

    assert said(capsys, fails, lambda x: x, (1,)).startswith("Not yet: ")


@pytest.mark.parametrize(
    "answer", [0.26, "0.25", "b", None, [0.25, 0.25], np.ones(2), object(), (0.25,), int]
)
def test_a_wrong_answer_is_no_error_and_does_not_give_the_right_one_away(capsys, answer):
    line = said(capsys, answer, 0.5)
    assert line.startswith("Not yet: ") and "not right" in line


def test_a_slip_is_explained(capsys):
    line = said(capsys, 4, 2, hints=[(3, "Too far."), (4, "This is the square.")])
    assert line.endswith("This is the square.")


def test_a_function_is_tried_on_every_case(capsys):
    cases = [(1, 2), (3, 4)]
    assert said(capsys, lambda x, y: y + x, lambda x, y: x + y, *cases) == RIGHT
    line = said(capsys, lambda x, y: 3, lambda x, y: x + y, *cases)
    assert line == "Not yet: for 3, 4: 3 was found, not 7."


def test_a_function_that_fails_is_told_how(capsys):
    assert "ZeroDivisionError" in said(capsys, lambda x: x / 0, lambda x: x, (1,))
    assert "TypeError" in said(capsys, lambda: 1, lambda x: x, (1,))
