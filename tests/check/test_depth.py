"""Signal through 100 plain layers, and a 50-layer CNN, from autoinit's critical rule."""

import pytest

from benchmarks.depth import errors, measured, studies

STABLE = ("relu", "tanh", "selu", "elu")


@pytest.mark.slow
@pytest.mark.parametrize("name", STABLE)
@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_critical_keeps_signal_and_gradient_through_depth(network, name):
    """Medians of five seeds; predictions within a tenth at the first ten layers either way."""
    found = measured(studies(quick=False)[network], name, "critical", seeds=5)
    assert found["std"].min() > 0.5
    assert found["std"].max() < 2
    assert found["gradient"].min() > 0.25
    assert found["gradient"].max() < 4
    assert max(errors(found)) < 0.1


@pytest.mark.slow
def test_flax_defaults_do_not():
    """A power twin: the same network from Flax's own start."""
    found = measured(studies(quick=False)["mlp"], "relu", "flax", seeds=1)
    assert found["std"].min() < 1e-6
