"""What a notebook shows of the things that print as tables: HTML, with nothing in it unescaped."""

import jax
import jax.numpy as jnp
import pytest

import jaxinit

PARAMS = {"<script>": jax.ShapeDtypeStruct((8, 4), "float32")}


def apply(params, x):
    return jax.nn.relu(x @ params["<script>"])


SHOWN = {  # each thing, and what its HTML says
    "plan": (
        lambda: jaxinit.plan(lambda: {"<script>": jnp.zeros((8, 4))}),
        (
            'left">&lt;script&gt;</td>',
            'left">8 x 4</td>',
            "1 leaf, 32 elements, 128 B, 1 executable<",
        ),
    ),
    "advice": (
        lambda: jaxinit.autoinit.explain(apply, PARAMS, jnp.ones((2, 8))),
        ('left">&lt;script&gt;</td>', 'left">he_normal()</td>', "the standard rule"),
    ),
    "inference": (
        lambda: jaxinit.infer(apply, PARAMS, jnp.ones((2, 8))),
        ('left">&lt;script&gt;</td>', 'left">relu</td>'),
    ),
    "recommendation": (
        lambda: jaxinit.recommend("relu"),
        ("<b>he_normal()</b>", "halves the second moment"),
    ),
    "report": (
        lambda: jaxinit.audit({"<script>": jnp.full((8, 4), jnp.nan)}),
        ('left">not_finite</td>', 'left">&lt;script&gt;</td>', "1 error"),
    ),
}


@pytest.mark.parametrize("name", SHOWN)
def test_shown_in_a_notebook(name):
    make, expected = SHOWN[name]
    shown = make()._repr_html_()
    assert "<script>" not in shown
    assert [text for text in expected if text not in shown] == []
    assert ">branch</th>" not in shown  # a column without content
