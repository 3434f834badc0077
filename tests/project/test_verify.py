"""jaxinit verify: equal values are said to be equal, and one that differs is named."""

import json
import re

import jax
import pytest

from jaxinit import _verify
from jaxinit.__main__ import main

FEW = ["he_normal", "blocks", "hippo"]  # the options of one, the definition of another fix a shape


@pytest.fixture
def few(tmp_path, monkeypatch):
    """A file with few of the golden values; returns how to change one of the first."""
    golden = json.loads(_verify.GOLDEN.read_text())
    by_name = {value["initializer"]["name"]: value for value in golden["values"]}
    golden["values"] = [by_name[name] for name in FEW]
    for value in golden["values"]:
        value["sha256"] = {dtype: value["sha256"][dtype] for dtype in ("bfloat16", "float64")}
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
    assert re.search(r"he_normal\(\) +2 of 2\n", printed)
    assert f"0 of 6 arrays differ; JAX {jax.__version__}." in printed
    assert not jax.config.jax_enable_x64


def test_a_value_that_differs_is_named(few, capsys):
    few(bfloat16="0" * 64)
    assert main(["verify"]) == 1
    printed = capsys.readouterr().out
    assert re.search(r"he_normal\(\) +1 of 2 +bfloat16\n", printed)
    assert "1 of 6 arrays differ" in printed


def test_every_device_and_a_mesh_of_them(few, capsys):
    assert main(["verify", "--devices"]) == 0
    printed = capsys.readouterr().out
    assert f"mesh of {len(jax.local_devices())}" in printed
    assert all(str(device) in printed for device in jax.local_devices())
