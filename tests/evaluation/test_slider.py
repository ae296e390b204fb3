"""What is asked of a slider and what test users get, by hand."""

import numpy as np
import pytest

from paragon.evaluation import slider
from paragon.evaluation.methods import METHODS
from paragon.evaluation.shares import Choice, all_choices
from paragon.metrics.people import PLACES
from tests.conftest import trained_study, uneven

pytestmark = pytest.mark.slow

NAMES = ("backbone", "tuned", "generated", "nearest")


@pytest.fixture(scope="module")
def choices(seqs, backbone, settings):
    trained = trained_study(uneven(seqs), backbone, settings)
    return all_choices(trained, {name: METHODS[name] for name in NAMES})


def test_every_method_with_settings_has_a_slider(choices):
    found = slider.with_slider(choices)
    assert [*found] == ["tuned", "generated", "nearest"]
    for by_measure in found.values():
        assert {len(by_seed) for by_seed in by_measure.values()} == {len(choices.trained.seeds)}


def test_asked_minus_got_is_that_of_the_chosen_settings(choices):
    """Five settings whose lists are drawn, so that validation and test users differ."""
    quality = choices.test.quality
    rng = np.random.default_rng(0)
    items = rng.integers(1, choices.test.sequences.n_items, (5, *choices.backbone_lists.shape))
    accuracy, diversity = 0.2, 0.3
    points = np.array([[0.2, 0.3], [0.19, 0.4], [0.161, 0.5], [0.1, 0.6], [0.12, 0.45]])
    choice = Choice(range(5), points, lambda rows: (items[row] for row in rows))

    by_share = slider.asked_rows(points, accuracy)
    # 95 and 90 % are kept by 19 of 20, 80 % by 16 of 20; the most diverse keeps 50 %.
    assert by_share == {0.99: 0, 0.95: 1, 0.9: 1, 0.85: 1, 0.8: 2, 0.75: 2, 0.7: 2}
    by_place = slider.places(points, diversity)
    wanted = [diversity + k / PLACES * 0.3 for k in range(1, PLACES + 1)]
    by_hand = [1 if d <= 0.4 + 1e-9 else 2 if d <= 0.5 + 1e-9 else 3 for d in wanted]
    assert by_place == by_hand  # row 4 is as diverse as row 2 at most, and less accurate

    rows = [*by_share.values(), *by_place]
    lists = slider.Shown(choices.test, choices.backbone_lists, choice, rows)
    found = {name: m.value for name, m in slider.errors(lists, by_share, by_place).items()}
    ndcg = [quality.measure(lists_of)[0].mean() for lists_of in items]
    alpha = [quality.measure(lists_of)[1].mean() for lists_of in items]
    plain_ndcg, plain_alpha = (m.mean() for m in quality.measure(choices.backbone_lists))
    less = [share - ndcg[row] / plain_ndcg for share, row in by_share.items()]
    assert found["less_acc"] == pytest.approx(np.mean(less))
    assert found["asked_acc"] == pytest.approx(np.abs(less).mean())
    got = [(alpha[row] - plain_alpha) / (alpha[3] - plain_alpha) for row in by_place[:-1]]
    less = np.arange(1, PLACES) / PLACES - got
    assert found["less_div"] == pytest.approx(np.mean(less))
    assert found["asked_div"] == pytest.approx(np.abs(less).mean())


def test_a_share_that_nothing_keeps_is_answered_by_the_most_accurate():
    points = np.array([[0.9, 0.1], [0.8, 0.2]])
    by_share = slider.asked_rows(points, 1.0)
    assert by_share[0.99] == by_share[0.95] == 0
    assert min(by_share) == 0.8  # less than the most diverse keeps is not asked for
