"""The simple rivals against exact cases."""

import numpy as np
import pytest
from scipy.special import xlogy
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from paragon.adapters import mixtures
from paragon.adapters.mixtures import in_log_ratios, interpolation, nearest, rbf, ridge
from paragon.objectives.weights import LOG_OFFSET, simplex_lattice

TWO = np.array([[x, 1 - x] for x in (0.0, 0.2, 0.7, 1.0)])
THREE = np.array(
    [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], float
)
EXACT = [interpolation, nearest, rbf, in_log_ratios(interpolation), in_log_ratios(rbf)]


@pytest.mark.parametrize("anchors", [TWO, THREE])
def test_at_an_anchor_they_return_the_anchor_and_everywhere_mixtures_sum_to_one(anchors):
    weights = np.random.default_rng(0).dirichlet(np.ones(anchors.shape[1]), 20)
    corners = np.concatenate([np.eye(anchors.shape[1]), weights])
    for method in EXACT:
        assert np.allclose(method(anchors, anchors), np.eye(len(anchors))), method
    for method in [*EXACT, in_log_ratios(ridge)]:
        assert np.allclose(method(anchors, corners).sum(1), 1), method
    assert np.allclose(rbf(anchors, weights) @ anchors, weights)  # linear functions stay


def test_interpolation_is_piecewise_linear():
    weights = np.array([[0.1, 0.9], [0.45, 0.55]])
    assert np.allclose(interpolation(TWO, weights), [[0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0]])
    shuffled = TWO[[2, 0, 3, 1]]
    assert np.allclose(interpolation(shuffled, weights) @ shuffled, weights)


def test_interpolation_on_triangles_reproduces_linear_functions():
    weights = np.random.default_rng(0).dirichlet(np.ones(3), 50)
    mix = interpolation(THREE, weights)
    assert np.allclose(mix @ THREE, weights)
    assert mix.min() > -1e-9 and ((mix > 1e-9).sum(1) <= 3).all()
    lattice = simplex_lattice(3, 10).double().numpy()  # rounded, yet an edge is inside
    assert np.allclose(interpolation(THREE, lattice) @ THREE, lattice, atol=1e-5)
    inner = 0.8 * THREE + 0.2 / 3  # outside the anchors the nearest counts
    assert np.allclose(interpolation(inner, np.eye(3)), np.eye(6)[:3])


def test_in_log_ratios_interpolation_is_linear_in_the_order_of_magnitude():
    anchors = np.array([[x, 1 - x] for x in (0.001, 0.15, 0.5)])
    odds = np.divide(*(anchors + LOG_OFFSET).T)
    middle = np.sqrt(odds[0] * odds[1])  # half way between the first two
    weight = (middle * (1 + LOG_OFFSET) - LOG_OFFSET) / (1 + middle)
    weights = np.array([[weight, 1 - weight]])
    assert np.allclose(in_log_ratios(interpolation)(anchors, weights), [[0.5, 0.5, 0]])
    assert np.allclose(in_log_ratios(interpolation)(anchors, np.eye(2)), np.eye(3)[[2, 0]])
    # Far from the corner in magnitude, close to it in weight.
    assert interpolation(anchors, weights)[0, 0] > 0.8


def test_soup_mixes_the_extremes_and_constant_ignores_the_weights():
    assert np.allclose(mixtures.soup(TWO, np.array([[0.3, 0.7]])), [[0.7, 0, 0, 0.3]])
    found = mixtures.constant(TWO, np.array([[0.0, 1.0], [0.9, 0.1]]))
    assert np.array_equal(found, np.eye(4)[[2, 2]])


@pytest.mark.parametrize("anchors", [TWO, THREE])
def test_rbf_is_a_sum_of_r_squared_log_r_and_a_linear_function(anchors):
    """By its equations: it meets the anchors, and the factors have no linear part."""
    number, objectives = anchors.shape
    weights = np.random.default_rng(0).dirichlet(np.ones(objectives), 20)

    def terms(points):
        r = np.linalg.norm((points[:, None] - anchors)[..., :-1], axis=-1)
        return np.hstack([xlogy(r**2, r), points])

    system = np.pad(terms(anchors), ((0, objectives), (0, 0)))
    system[number:, :number] = anchors.T
    solved = np.linalg.solve(system, np.eye(number + objectives)[:, :number])
    assert np.allclose(rbf(anchors, weights), terms(weights) @ solved)


@pytest.mark.parametrize("anchors", [TWO, THREE])
def test_ridge_against_scikit_learn(anchors):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((len(anchors), 7))
    weights = rng.dirichlet(np.ones(anchors.shape[1]), 20)
    model = make_pipeline(PolynomialFeatures(3, include_bias=False), Ridge(alpha=0.01))
    model.fit(anchors[:, :-1], vectors)
    found = ridge(anchors, weights, strength=0.01) @ vectors
    assert np.allclose(found, model.predict(weights[:, :-1]))
