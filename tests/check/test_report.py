"""Reports: the table, the data, the figure, the page."""

import html.parser
import io
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

import jaxinit

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def report():
    def apply(params, x):
        for w in params:
            x = jnp.tanh(x @ w)
        return x

    params = [jaxinit.normal(k, (64, 64), stddev=0.05) for k in jax.random.split(KEY, 8)]
    return jaxinit.propagate(apply, params, jax.random.normal(KEY, (32, 64)))


def test_it_is_data(report):
    data = json.loads(json.dumps(report.to_dict()))
    assert [row["path"] for row in data["rows"]] == [str(i) for i in range(8)]
    assert data["findings"][0]["kind"] == "vanishes"
    assert set(data["findings"][0]) == {
        *("severity", "kind", "path", "message", "remedy", "evidence", "also")
    }


def test_it_prints(report):
    console = Console(width=140, file=io.StringIO())
    console.print(report)
    for printed in (str(report), console.file.getvalue()):  # type: ignore[attr-defined]
        for text in ("gradient", "of that of", "warning", "predicted", "2 warnings", "mend it"):
            assert text in printed
    assert max(map(len, str(report).splitlines())) <= 80
    assert repr(report) == "Report('signal through 8 layers', 8 rows, 2 findings)"


def test_figure_and_page(report, tmp_path):
    report.plot(tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    report.plot(tmp_path / "x.svg")
    report.to_html(tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text()
    tags = []
    parser = html.parser.HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append((tag, dict(attrs)))  # type: ignore
    parser.feed(page)
    assert sum(tag == "tr" for tag, _ in tags) == 9 + 2  # the table with its heading; findings
    sources = [attrs[k] for _, attrs in tags for k in ("src", "href") if k in attrs]
    assert all(source.startswith("data:") for source in sources)  # needs no other file
    assert "0.054 of that of 0" in page


def test_a_page_escapes_what_comes_from_outside(tmp_path):
    tree = {"<script>alert(1)</script>": np.full((4, 4), np.nan, np.float32)}
    jaxinit.audit(tree).to_html(tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_a_figure_names_the_rows_that_it_draws(tmp_path):
    keys = jax.random.split(KEY, 30)
    kernels = {f"Dense_{n}": jaxinit.normal(k, (32, 32)) for n, k in enumerate(keys)}
    few = {
        "params": {r"$\frac{$": kernels["Dense_0"], "bias": jnp.zeros(8), "one": kernels["Dense_1"]}
    }
    report = jaxinit.audit(few)
    (axis,) = report._figure().axes
    assert [t.get_text() for t in axis.get_xticklabels()] == [r"$\frac{$", "one"]
    report.to_html(tmp_path / "x.html")  # mathematics of Matplotlib would be an error
    report.plot(tmp_path / "x.png")
    (axis,) = jaxinit.audit(kernels)._figure().axes
    assert [t.get_text() for t in axis.get_xticklabels()] == [f"Dense_{n}" for n in range(0, 30, 2)]
    assert axis.get_xlabel() == "parameter, one in 2 named"
    low, high = axis.get_ylim()
    assert high / low > 3.9  # so that noise does not look like a trend


def test_matplotlib_is_asked_for_where_it_is_needed(tmp_path):
    code = (
        "import sys; sys.modules['matplotlib'] = None; sys.modules['matplotlib.figure'] = None;"
        "import jax.numpy as jnp, jaxinit;"
        "r = jaxinit.audit({'w': jnp.ones((4, 4))}); str(r); r.to_dict(); r.to_html('x.html');"
        "r.plot('x.png')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert "needs Matplotlib: pip install matplotlib." in done.stderr
    assert (
        "There is no figure, as Matplotlib is not installed." in (tmp_path / "x.html").read_text()
    )
