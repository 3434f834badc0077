"""The command line: what it prints, what it saves, what it says when it cannot."""

import json
import pathlib
import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from kill_saves import tree_hash
from safetensors.numpy import save_file

import jaxinit
from jaxinit.__main__ import main

HERE = pathlib.Path(__file__).parents[1] / "helpers"


def two(key=None):
    """A factory of a small tree with a float and an integer leaf."""
    init = jaxinit.initializers.he_normal()

    def init_fn(key):
        return {"step": jnp.int32(7), "w": init(key, (64, 32))}

    return init_fn, jax.random.key(0)


def factory():
    return two()


def of_a_module():
    return nn.Dense(4), jax.random.key(0), jnp.ones((1, 8))


def of_nothing():
    return (lambda key: {}), jax.random.key(0)


def without_keys():
    return (lambda x: {"x": x + 1}), jnp.ones(3)


def wrong():
    return "not a function"


def bare():
    return (lambda: {},)


needs_options = two


@pytest.mark.parametrize("format", ["orbax", "safetensors"])
def test_init_saves_what_materialize_makes(format, tmp_path, capsys):
    out = tmp_path / "m"
    assert main(["init", "test_command:factory", "--out", str(out), "--format", format]) == 0
    printed = capsys.readouterr()
    assert "2 leaves, 2,049 elements" in printed.out
    assert f"{out}: {format}, 2 leaves" in printed.out
    assert "saving" in printed.err
    assert len(json.loads((out / "jaxinit.json").read_text())["leaves"]) == 2
    before = tree_hash(out)
    assert main(["init", "test_command:factory", "--out", str(out), "--format", format]) == 0
    assert tree_hash(out) == before


def test_seed_and_dtype(tmp_path):
    out = tmp_path / "m"
    options = ["--seed", "9", "--dtype", "bfloat16", "--out", str(out)]
    assert main(["init", "test_command:factory", *options]) == 0
    found = ocp.StandardCheckpointer().restore(out.absolute())
    expected = jaxinit.he_normal(jax.random.key(9), (64, 32), "bfloat16")
    np.testing.assert_array_equal(found["w"], expected)
    assert found["step"] == 7


def test_a_factory_of_a_module_and_a_dtype(capsys):
    assert main(["init", "test_command:of_a_module", "--dry-run", "--dtype", "bfloat16"]) == 0
    assert "bfloat16" in capsys.readouterr().out


def test_a_factory_of_nothing(capsys):
    assert main(["init", "test_command:of_nothing", "--dry-run", "--mesh", "d=2"]) == 0
    assert "(d=2): 0 B each" in capsys.readouterr().out


def test_a_dry_run_shows_a_mesh_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["init", "test_command:factory", "--dry-run", "--mesh", "data=8,model=2"]
    assert main(command) == 0
    assert "on 16 devices (data=8,model=2): 516 B each" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_dry_run_of_a_tree_without_arrays(capsys):
    assert main(["init", "test_command:bare", "--dry-run", "--mesh", "d=2"]) == 0
    assert "on 2 devices (d=2): 0 B each" in capsys.readouterr().out


ERRORS = {
    "no place": (["test_command:factory"], r"^init: say where to with --out DIR, or only look"),
    "no colon": (["test_command", "--dry-run"], r"^init: expected MODULE:FACTORY, as examples"),
    "no module": (["absent:factory", "--dry-run"], r"^init: no module 'absent'; run it where"),
    "no name": (["test_command:absent", "--dry-run"], r"^init: test_command has no absent; it has"),
    "a typo": (["test_command:factori", "--dry-run"], r"has no factori; did you mean factory\?$"),
    "mesh first": (["nowhere:at_all", "--dry-run", "--mesh", "8"], r"^init: --mesh must be as dat"),
    "not a pair": (["test_command:wrong", "--dry-run"], r"^init: test_command:wrong must be a fun"),
    "options": (["test_command:needs_options", "--dry-run"], r"must be a function of no arguments"),
    "dtype": (
        ["test_command:factory", "--dry-run", "--dtype", "q9"],
        r"^init: --dtype must name a",
    ),
    "integer": (["test_command:factory", "--dry-run", "--dtype", "int8"], r"a floating dtype, as"),
    "mesh": (["test_command:factory", "--dry-run", "--mesh", "8"], r"^init: --mesh must be as dat"),
    "no device": (["test_command:factory", "--dry-run", "--mesh", "d=0"], r"--mesh must be as dat"),
    "many devices": (
        ["test_command:factory", "--dry-run", "--mesh", "d=9999999"],
        r"^init: --mesh must have at most 1048576 devices; got 'd=9999999'",
    ),
    "seed beyond": (
        ["test_command:factory", "--dry-run", "--seed", "4294967296"],
        r"^init: --seed must be from 0 to 4294967295; got 4294967296\.$",
    ),
    "seed": (["test_command:without_keys", "--dry-run", "--seed", "1"], r"^init: --seed replaces"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_one_line_and_exit_code_two(name, capsys):
    arguments, text = ERRORS[name]
    assert main(["init", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(text, said)


def test_something_in_the_way_is_one_line_too(tmp_path, capsys):
    (tmp_path / "m").mkdir()
    assert main(["init", "test_command:factory", "--out", str(tmp_path / "m")]) == 2
    assert "exists and is not what this plan makes" in capsys.readouterr().err


def test_405_billion_parameters_are_planned_here():
    command = "init examples.llama:b405 --dtype bfloat16 --mesh fsdp=64,model=8 --dry-run"
    done = subprocess.run(
        [sys.executable, "-m", "jaxinit", *command.split()],
        capture_output=True,
        text=True,
        check=True,
        cwd=HERE.parents[1],
    )
    *_, total, devices = done.stdout.splitlines()
    assert total == "1,137 leaves, 405,853,388,800 elements, 756 GiB, 8 executables"
    assert devices == "on 512 devices (fsdp=64,model=8): 1.477 GiB each"


def test_audit_verify(tmp_path, capsys):
    """Exit code 0 and one line for a checkpoint as it was saved; 1 and what is damaged else."""
    out = str(tmp_path / "m")
    jaxinit.plan(lambda: {"a": jax.numpy.ones((3, 4))}).save(out, format="safetensors")
    assert main(["audit", "--verify", out]) == 0
    assert capsys.readouterr().out == f"{out}: every array and file matches its checksum\n"
    with open(f"{out}/model.safetensors", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    assert main(["audit", "--verify", out]) == 1
    assert capsys.readouterr().out == f"{out}: a does not match its checksum (1 of 1 pieces)\n"
    assert main(["audit", "--verify", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("verify: ")


def test_the_script_and_its_version(capsys):
    """pyproject.toml names a function that exits with what it returns."""
    project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text())["project"]
    script = EntryPoint("jaxinit", project["scripts"]["jaxinit"], "console_scripts")
    with pytest.raises(SystemExit, match=r"^0$"):
        script.load()(["--version"])
    assert capsys.readouterr().out == f"jaxinit {jaxinit.__version__}\n"


def test_a_factory_is_looked_for_in_the_working_directory(tmp_path, monkeypatch, capsys):
    """As ``python -m`` does; the script's own folder is on sys.path instead."""
    (tmp_path / "made_here.py").write_text("def small():\n    return (lambda: {'a': 1.0}),\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [p for p in sys.path if p not in ("", str(tmp_path))])
    assert main(["init", "made_here:small", "--dry-run"]) == 0


def test_help_names_every_command_on_one_line(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([]) == 2
    printed = capsys.readouterr().err
    for command in ("recommend", "init", "audit", "verify"):
        assert re.search(rf"^    {command}  +[a-z]", printed, re.MULTILINE)
        assert f"  jaxinit {command}" in printed


def test_a_reader_that_stops_reading(tmp_path):
    """As with ``| head``: no traceback."""
    (tmp_path / "m").mkdir()
    save_file({"w": np.zeros((64, 64), np.float32)}, tmp_path / "m" / "model.safetensors")
    script = (
        f"{sys.executable} -m jaxinit audit {tmp_path}/m --json | true; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
