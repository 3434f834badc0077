"""Pages of docs whose code runs, in order, and prints what the page says that it prints."""

import contextlib
import io
import pathlib
import re

import pytest

import jaxinit
from jaxinit import initializers, layouts, recipes

DOCS = pathlib.Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = {  # and what each needs to be installed
    "haiku.md": "haiku",
    "equinox.md": "equinox",
    "keras.md": "keras",
    "index.md": "jaxinit",
    "checking.md": "jaxinit",
    "choosing.md": "jaxinit",
    "recipes.md": "jaxinit",
    "stream.md": "jaxinit",
    "tutorials/classifier.md": "optax",
    "tutorials/mesh.md": "jaxinit",
    "tutorials/audit.md": "safetensors",
}


def printed(code, names):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, names)
    return out.getvalue()


def mistakes(page):
    """What the code blocks of a page print, where the text block that follows says otherwise."""
    names: dict = {"__name__": "page"}
    blocks = BLOCK.findall(page)
    found = []
    for n, (language, code) in enumerate(blocks):
        if language == "python":
            out = printed(code, names)
            said = blocks[n + 1][1] if blocks[n + 1 : n + 2] and blocks[n + 1][0] == "text" else ""
            found += [(said, out)] if said != out else []
    return found


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # within Keras, by NumPy 2
@pytest.mark.parametrize("page", PAGES)
def test_a_page_prints_what_it_says(page, tmp_path, monkeypatch):
    pytest.importorskip(PAGES[page])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    assert mistakes((DOCS / page).read_text()) == []


def test_the_check_can_fail():
    assert mistakes("```python\nprint(1)\n```\n\n```text\n2\n```\n") == [("2\n", "1\n")]
    assert mistakes("```python\nprint(1)\n```\n") == [("", "1\n")]


# What has no entry of its own: modules, numbers, and the functions of which the factory has one.
ELSEWHERE = {"initializers", "layouts", "linen", "nnx", "recipes", "zeros_init", "ones_init"}
ELSEWHERE |= {"zeros", "ones", "autoinit"}  # autoinit by its two methods


def test_the_reference_has_every_public_name():
    pages = "\n".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
    listed = {name.rpartition(".")[2] for name in re.findall(r"^::: ([\w.]+)", pages, re.MULTILINE)}
    modules = (jaxinit, initializers, layouts, recipes)
    public = {name for module in modules for name in module.__all__}
    assert public - listed - ELSEWHERE == set()


def too_long(page):
    """The lines of its code that a column of the site would cut off."""
    return [line for _, code in BLOCK.findall(page) for line in code.splitlines() if len(line) > 88]


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")) + sorted(DOCS.glob("tutorials/*.md")))
def test_code_fits_the_page(page):
    assert too_long(page.read_text()) == []
    assert too_long(f"```python\n{'x' * 89}\n```\n") == ["x" * 89]  # the check can fail
