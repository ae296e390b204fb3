"""The simple rivals against exact cases."""

import numpy as np
import pytest

from paragon.adapters.mixtures import (
    constant,
    in_log_ratios,
    interpolation,
    nearest,
    rbf,
    ridge,
    soup,
)
from paragon.objectives.weights import LOG_OFFSET, simplex_lattice

TWO = np.array([[x, 1 - x] for x in (0.0, 0.2, 0.7, 1.0)])
THREE = np.array(
    [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], float
)
EXACT = [interpolation, nearest, rbf, in_log_ratios(interpolation), in_log_ratios(rbf)]


@pytest.mark.parametrize("anchors", [TWO, THREE])
@pytest.mark.parametrize("method", EXACT)
def test_at_an_anchor_they_return_the_anchor(method, anchors):
    assert np.allclose(method(anchors, anchors), np.eye(len(anchors)))


def test_interpolation_is_piecewise_linear():
    weights = np.array([[0.1, 0.9], [0.45, 0.55]])
    assert np.allclose(interpolation(TWO, weights), [[0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0]])
    shuffled = TWO[[2, 0, 3, 1]]
    assert np.allclose(interpolation(shuffled, weights) @ shuffled, weights)


def test_interpolation_on_triangles_reproduces_linear_functions():
    weights = np.random.default_rng(0).dirichlet(np.ones(3), 50)
    mix = interpolation(THREE, weights)
    assert np.allclose(mix @ THREE, weights) and np.allclose(mix.sum(1), 1)
    assert mix.min() > -1e-9 and ((mix > 1e-9).sum(1) <= 3).all()


def test_weights_on_an_edge_are_inside_although_they_are_rounded():
    lattice = simplex_lattice(3, 10).double().numpy()  # float32 before
    assert np.allclose(interpolation(THREE, lattice) @ THREE, lattice, atol=1e-5)


def test_outside_the_anchors_the_nearest_counts():
    inner = 0.8 * THREE + 0.2 / 3
    assert np.allclose(interpolation(inner, np.eye(3)), np.eye(6)[:3])


def test_in_log_ratios_interpolation_is_linear_in_the_order_of_magnitude():
    offset = LOG_OFFSET
    anchors = np.array([[x, 1 - x] for x in (0.001, 0.15, 0.5)])
    odds = np.log((anchors[:, 0] + offset) / (anchors[:, 1] + offset))
    middle = np.exp(odds[:2].mean())  # the odds half way between the first two
    weight = (middle * (1 + offset) - offset) / (1 + middle)
    found = in_log_ratios(interpolation)(anchors, np.array([[weight, 1 - weight]]))
    assert np.allclose(found, [[0.5, 0.5, 0]])
    plain = interpolation(anchors, np.array([[weight, 1 - weight]]))
    assert plain[0, 0] > 0.8  # far from the corner in magnitude, close to it in weight


@pytest.mark.parametrize("method", [interpolation, rbf, ridge])
@pytest.mark.parametrize("anchors", [TWO, THREE])
def test_log_ratios_are_finite_at_the_corners_and_mixtures_sum_to_one(method, anchors):
    weights = np.concatenate([np.eye(anchors.shape[1]), anchors.mean(0, keepdims=True)])
    found = in_log_ratios(method)(anchors, weights)
    assert np.isfinite(found).all() and np.allclose(found.sum(1), 1)


def test_soup_mixes_the_extremes():
    assert np.allclose(soup(TWO, np.array([[0.3, 0.7]])), [[0.7, 0, 0, 0.3]])


def test_constant_ignores_the_weights():
    found = constant(TWO, np.array([[0.0, 1.0], [0.9, 0.1]]))
    assert np.array_equal(found, np.eye(4)[[2, 2]])


@pytest.mark.parametrize("anchors", [TWO, THREE])
def test_a_thin_plate_spline_reproduces_linear_functions(anchors):
    weights = np.random.default_rng(0).dirichlet(np.ones(anchors.shape[1]), 20)
    mix = rbf(anchors, weights)
    assert np.allclose(mix @ anchors, weights) and np.allclose(mix.sum(1), 1)


@pytest.mark.parametrize("anchors", [TWO, THREE])
def test_ridge_against_scikit_learn(anchors):
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures

    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((len(anchors), 7))
    weights = rng.dirichlet(np.ones(anchors.shape[1]), 20)
    model = make_pipeline(PolynomialFeatures(3, include_bias=False), Ridge(alpha=0.01))
    model.fit(anchors[:, :-1], vectors)
    found = ridge(anchors, weights, strength=0.01) @ vectors
    assert np.allclose(found, model.predict(weights[:, :-1]))
