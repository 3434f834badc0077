"""jaxinit verify: equal values are said to be equal, and one that differs is named."""

import json

import jax
import pytest

from jaxinit import _verify
from jaxinit.__main__ import main


@pytest.fixture
def few(tmp_path, monkeypatch):
    """A file with few of the golden values; returns how to change one of them."""
    golden = json.loads(_verify.GOLDEN.read_text())
    golden["values"] = [v for v in golden["values"] if v["initializer"] == {"name": "he_normal"}]
    golden["values"][0]["sha256"] = {
        dtype: golden["values"][0]["sha256"][dtype] for dtype in ("float32", "bfloat16", "float64")
    }
    file = tmp_path / "golden.json"
    monkeypatch.setattr(_verify, "GOLDEN", file)

    def write(**changed):
        golden["values"][0]["sha256"] |= changed
        file.write_text(json.dumps(golden))

    write()
    return write


def test_this_machine_keeps_the_promise(few, capsys):
    assert main(["verify"]) == 0
    printed = capsys.readouterr().out
    assert "he_normal()  3 of 3" in printed
    assert f"0 of 3 arrays differ; JAX {jax.__version__}." in printed
    assert not jax.config.jax_enable_x64


def test_a_value_that_differs_is_named(few, capsys):
    few(bfloat16="0" * 64)
    assert main(["verify"]) == 1
    printed = capsys.readouterr().out
    assert "he_normal()  2 of 3        bfloat16" in printed
    assert "1 of 3 arrays differ" in printed


def test_every_device_and_a_mesh_of_them(few, capsys):
    assert main(["verify", "--devices"]) == 0
    printed = capsys.readouterr().out
    assert f"mesh of {len(jax.local_devices())}" in printed
    assert all(str(device) in printed for device in jax.local_devices())
