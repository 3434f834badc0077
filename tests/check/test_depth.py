"""Signal through 100 plain layers, and a 50-layer CNN, from autoinit's critical rule."""

import pytest

from benchmarks.depth import ACTIVATIONS, KEPT, errors, measured, read, studies, write

STABLE = ("relu", "tanh", "selu", "elu")


@pytest.mark.slow
@pytest.mark.parametrize("name", STABLE)
@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_critical_keeps_signal_and_gradient_through_depth(network, name):
    """Medians of three seeds; predictions within a tenth at the first ten layers either way."""
    found = measured(studies(quick=False)[network], name, "critical", seeds=3)
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


def test_the_picture_is_drawn_from_what_was_kept(tmp_path):
    kept = read(KEPT)
    for network in ("mlp", "cnn"):
        rules = studies(quick=False)[network].rules
        assert {(network, name, rule) for name in ACTIVATIONS for rule in rules} <= set(kept)
    write(kept, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == KEPT.read_text()
