"""The files that a script writes are what it writes."""

import generate_faces
import pytest


@pytest.mark.parametrize("name", generate_faces.FILES)
def test_generated_files_are_current(name):
    text = (generate_faces.HOUSE / name).read_text()
    assert text == generate_faces.FILES[name](), "run python tests/helpers/generate_faces.py"
