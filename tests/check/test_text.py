"""Tables as wide as the terminal, in natural order, with nothing that steers it; warnings."""

import io
import os
import random
import sys
import warnings

import jax
import jax.numpy as jnp
import pytest

import jaxinit
from jaxinit import _text, initializers

HEADINGS = ("path", "shape", "role", "std", "reason")
ROWS = [
    (
        "params/encoder/layers_0/attention/query/kernel",
        "512 x 8 x 64",
        "kernel",
        "0.0442",
        "why " * 40,
    ),
    ("b", "3", "", "1", ""),
]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 400])
def test_no_line_is_wider_than_the_terminal(width):
    printed = _text.table(HEADINGS, ROWS, right=(3,), below=(4,), width=width)
    assert max(map(len, printed.splitlines())) <= max(width, 28)  # a sentence has 28 at the least
    squeezed = "".join(printed.split())
    assert "".join(("why " * 40).split()) in squeezed
    for name, column in (("role", 2), ("std", 3)):  # a column is whole, or named as left out
        assert (ROWS[0][column] in squeezed) or name in squeezed.partition("(columns")[2]


def test_words_are_wrapped_before_a_column_is_left_out():
    wide = _text.table(HEADINGS, ROWS, right=(3,), below=(4,), width=200)
    narrow = _text.table(HEADINGS, ROWS, right=(3,), below=(4,), width=60)
    assert ROWS[0][0] in wide
    assert ROWS[0][0] not in narrow
    assert "columns too many" not in narrow
    assert "0.0442" in narrow
    assert "columns too many for 20 characters: shape, role, std" in " ".join(
        _text.table(HEADINGS, ROWS, right=(3,), below=(4,), width=20).split()
    )


def test_a_column_without_entries_is_not_printed():
    assert _text.table(("a", "b"), [("1", ""), ("2", "")]).splitlines() == ["a", "-", "1", "2"]


def test_natural_order():
    paths = ["Dense_2/bias", "Dense_2/kernel", "Dense_10/bias", "a", "10", "9"]
    shuffled = random.Random(0).sample(paths, len(paths))
    expected = ["9", "10", "Dense_2/bias", "Dense_2/kernel", "Dense_10/bias", "a"]
    assert sorted(shuffled, key=_text.natural) == expected


def test_every_table_of_parameters_is_in_natural_order():
    def init(key):
        return {f"Dense_{i}": jaxinit.he_normal(key, (4, 4)) for i in range(11)}

    def apply(params, x):
        for w in params.values():
            x = jax.nn.relu(x @ w)
        return x

    params, x = init(jax.random.key(0)), jnp.ones((1, 4))
    tables = (
        jaxinit.plan(init, jax.random.key(0)).table(full=True),
        jaxinit.infer(apply, params, x),
        jaxinit.autoinit.explain(apply, params, x),
    )
    for printed in map(str, tables):
        assert printed.index("Dense_2 ") < printed.index("Dense_10 ")


def test_what_would_steer_a_terminal_is_escaped():
    printed = _text.table(("path",), [("a\x1b[2J\r\n\u202eb\ud800",)])
    assert printed.splitlines()[-1] == "a\\x1b[2J\\r\\n\\u202eb\\ud800"


def test_sizes():
    shown = [_text.size(count) for count in (0, 1023, 1024, 3 * 2**29, 2**40, 2**52)]
    assert shown == ["0 B", "1023 B", "1 KiB", "1.5 GiB", "1 TiB", "4096 TiB"]


def test_each_line_that_calls_jaxinit_is_warned_once():
    init = initializers.normal()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(2):
            init(jax.random.key(0), (2,), "float64")
            init(jax.random.key(0), (2,), "float64")
    first, second = caught
    assert first.filename == second.filename == __file__
    assert second.lineno == first.lineno + 1


def test_a_warning_points_at_a_package_whose_name_only_begins_like_ours():
    file = f"{os.path.dirname(jaxinit.__file__)}_x{os.sep}module.py"
    with pytest.warns(UserWarning, match=r"^call: it$") as caught:
        exec(compile("warn('call', 'it')", file, "exec"), {"warn": _text.warn})
    assert [warned.filename for warned in caught] == [file]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _text.warn("call", None)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("kind", "patience", "shown"),
    [(Terminal, 0, True), (Terminal, 60, False), (io.StringIO, 0, False)],
)
def test_a_bar_counts_long_work_on_a_terminal_alone(monkeypatch, kind, patience, shown):
    apply = lambda params, x: jnp.tanh(x @ params["a"]) @ params["b"]  # noqa: E731
    params = {name: jaxinit.lecun_normal(jax.random.key(0), (16, 16)) for name in "ab"}
    monkeypatch.setattr(sys, "stderr", kind())
    monkeypatch.setattr(_text, "PATIENCE", patience)
    assert list(_text.watched("counting", iter("abc"))) == list("abc")
    jaxinit.propagate(apply, params, jnp.ones((4, 16)))
    printed = sys.stderr.getvalue()
    for title in ("counting", "reading the model", "running the model"):
        assert (title in printed) == shown
    assert shown or not printed
