"""Checkpoints that are damaged, foreign or hostile: one line each, before any memory is taken."""

import json
import struct
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

import jaxinit
from jaxinit.__main__ import main


def header(entries, body=b"", length=None):
    """A safetensors file with this header."""
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(dtype="F32", shape=(4,), offsets=(0, 16)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


FILES = {  # a safetensors file -> what is said of it
    "README": (b"# A model\n" * 9, "no safetensors file, or it was cut off"),
    "empty": (b"", "no safetensors file, or it was cut off"),
    "seven bytes": (b"1234567", "no safetensors file, or it was cut off"),
    "a header of 2^63": (struct.pack("<Q", 2**63) + b"{}", "no safetensors file"),
    "a header longer than the file": (header({}, length=99), "no safetensors file"),
    "no JSON": (header(b"{'w': 1}"), "it is no JSON, or it was cut off"),
    "no UTF-8": (header(b'{"\xff": 1}'), "it is no JSON, or it was cut off"),
    "deep nesting": (header(b"[" * 100_000), "nested too deeply, or it was cut off"),
    "a list": (header([1, 2]), "its header is no mapping from names to arrays"),
    "no entry": (header({"w": 3}), "'w' has no dtype, shape and data_offsets"),
    "no shape": (header({"w": {"dtype": "F32"}}), "'w' has no dtype, shape and data_offsets"),
    "a negative shape": (header({"w": entry(shape=(-4,))}), "has no dtype, shape and data_off"),
    "a shape of floats": (header({"w": entry(shape=(4.0,))}), "has no dtype, shape and data_of"),
    "a shape of booleans": (header({"w": entry(shape=(True,))}), "has no dtype, shape and data"),
    "three offsets": (header({"w": entry(offsets=(0, 8, 16))}), "has no dtype, shape and data_"),
    "an unknown dtype": (header({"w": entry("F13")}, bytes(16)), "dtype 'F13', which is not kn"),
    "truncated": (header({"w": entry()}, bytes(9)), "'w' claims 16 bytes at 0 to 16 of 9; it"),
    "4 TiB": (
        header({"w": entry(shape=(2**40,), offsets=(0, 2**42))}, bytes(16)),
        "claims 4,398,046,511,104 bytes at 0 to 4,398,046,511,104 of 16",
    ),
    "offsets the wrong way": (header({"w": entry(offsets=(16, 0))}, bytes(16)), "16 to 0 of 16"),
    "a shape of other bytes": (header({"w": entry(shape=(5,))}, bytes(16)), "claims 20 bytes at"),
    "a name that steers": (header({"\x1b[2J": 3}), "'\\x1b[2J' has no dtype"),
}
INDEXES = {  # an index -> what is said of it
    "no JSON": (b"{", "it is no JSON, or it was cut off"),
    "a list": (b"[]", "it has no weight_map from names to files"),
    "no weight_map": (b"{}", "it has no weight_map from names to files"),
    "a map of numbers": (b'{"weight_map": {"w": 3}}', "it has no weight_map from names to files"),
    "a file elsewhere": (b'{"weight_map": {"w": "../x.safetensors"}}', "not a file of its own fol"),
    "an absolute file": (b'{"weight_map": {"w": "/etc/passwd"}}', "not a file of its own folder"),
    "no such file": (b'{"weight_map": {"w": "x.safetensors"}}', "'x.safetensors', which is not t"),
    "a zero byte": (b'{"weight_map": {"w": "x\\u0000"}}', "not a file of its own folder"),
}


def said(path, capsys):
    """What the command line says of a checkpoint that it cannot read: one line."""
    assert main(["audit", str(path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err[:-1].isprintable()
    assert printed.err.startswith("audit: ")
    return printed.err


@pytest.mark.parametrize("name", FILES)
def test_safetensors(tmp_path, capsys, name):
    data, text = FILES[name]
    (tmp_path / "model.safetensors").write_bytes(data)
    assert text in said(tmp_path / "model.safetensors", capsys)
    assert text in said(tmp_path, capsys)


@pytest.mark.parametrize("name", INDEXES)
def test_index(tmp_path, capsys, name):
    data, text = INDEXES[name]
    (tmp_path / "model.safetensors.index.json").write_bytes(data)
    assert text in said(tmp_path, capsys)


def metadata(**changes):
    """The _METADATA of a checkpoint that holds w, with some of it changed."""
    one = {
        "key_metadata": [{"key": changes.pop("key", "w"), "key_type": 2}],
        "value_metadata": {"value_type": "np.ndarray", "skip_deserialize": False},
    }
    return {"tree_metadata": {"('w',)": one}, "use_ocdbt": False, "use_zarr3": False} | changes


def zarray(**changes):
    """The description of a zarr array of 4 numbers, with some of it changed."""
    plain = {"compressor": None, "fill_value": None, "filters": None, "order": "C"}
    return {"zarr_format": 2, "dtype": "<f4", "shape": [4], "chunks": [4], **plain} | changes


ORBAX = {  # (_METADATA, .zarray) -> what is said of it
    "no JSON": ("{", zarray(), "it is no JSON, or it was cut off"),
    "deep nesting": ("[" * 100_000, zarray(), "nested too deeply, or it was cut off"),
    "a list": ("[]", zarray(), "it has no tree_metadata"),
    "no tree": ("{}", zarray(), "it has no tree_metadata"),
    "no keys": ('{"tree_metadata": {"a": {}}}', zarray(), "entry of its tree_metadata has no keys"),
    "a number": ('{"tree_metadata": {"a": 3}}', zarray(), "entry of its tree_metadata has no keys"),
    "a key elsewhere": (metadata(key="../other"), zarray(), "'../other', outside of its folder"),
    "an absolute key": (metadata(key="/etc"), zarray(), "'/etc', outside of its folder"),
    "no array": (metadata(key="v"), zarray(), "array 'v': "),
    "no database": (metadata(use_ocdbt=True), zarray(), "array 'w': "),
    "another format": (metadata(use_zarr3=True), zarray(), "array 'w': "),
    "a .zarray of nothing": (metadata(), "", "array 'w': "),
    "a .zarray without a shape": (metadata(), zarray(shape=None), "array 'w': "),
    "a negative shape": (metadata(), zarray(shape=[-4]), "array 'w': "),
    "an unknown dtype": (metadata(), zarray(dtype="<f3"), "array 'w': "),
    "a shape of 4 TiB": (metadata(), zarray(shape=[2**40]), "it claims 4 TiB, and the folder ho"),
    "a chunk of 4 TiB": (metadata(), zarray(chunks=[2**40]), "a chunk of it claims 4 TiB, and t"),
    "a short chunk": (metadata(), zarray(shape=[8], chunks=[8]), "array 'w': "),
}  # fmt: skip


@pytest.mark.parametrize("name", ORBAX)
def test_orbax(tmp_path, capsys, name):
    tree, array, text = ORBAX[name]
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "0").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    for file, what in (("_METADATA", tree), ("w/.zarray", array)):
        (tmp_path / file).write_text(what if isinstance(what, str) else json.dumps(what))
    assert text in said(tmp_path, capsys)


def test_the_same_folder_without_damage_is_read(tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "0").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    (tmp_path / "_METADATA").write_text(json.dumps(metadata()))
    (tmp_path / "w" / ".zarray").write_text(json.dumps(zarray()))
    (row,) = jaxinit.audit(tmp_path).rows
    assert (row["path"], row["low"], row["high"]) == ("w", 0, 3)


def test_an_orbax_checkpoint_cut_off(tmp_path, capsys):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "step", {"w": jnp.ones((300, 300))})
    for file in (tmp_path / "step").rglob("d/*"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "array 'w': " in said(tmp_path / "step", capsys)


def test_names_do_not_steer_terminal_or_page(tmp_path, capsys):
    name = "\x1b[31m<b>\u202e"
    data = header(
        {name: entry(shape=(8, 8), offsets=(0, 256))}, np.full(64, np.nan, "f4").tobytes()
    )
    (tmp_path / "model.safetensors").write_bytes(data)
    code = main(["audit", str(tmp_path), "--full", "--html", str(tmp_path / "page.html")])
    assert code == 1
    page, printed = (tmp_path / "page.html").read_text(), capsys.readouterr().out
    for text in (page, printed):
        assert "\x1b[31m" not in text
        assert "\u202e" not in text
        assert "\\x1b[31m" in text
    assert "<b>" not in page
    assert "&lt;b&gt;" in page


@pytest.mark.slow
@pytest.mark.parametrize("format", ["safetensors", "orbax"])
def test_memory_does_not_grow_with_the_array(tmp_path, format):
    """A checkpoint with one array of 1 GiB, in windows of 128 MiB."""
    shape = (2**14, 2**14)
    key = "jax.random.key(0)"
    made = f"jaxinit.plan(lambda k: {{'w': jaxinit.normal(k, {shape})}}, {key})"
    run = f"import jax, jaxinit; {made}.save({str(tmp_path / 'm')!r}, format={format!r})"
    subprocess.run([sys.executable, "-c", run], check=True)

    def peak(path):
        code = (
            "import resource, jaxinit, orbax.checkpoint;"
            f"print(jaxinit.audit({str(path)!r}).verdict());"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        return int(done.stdout.split()[-1]) * 1024

    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "model.safetensors").write_bytes(header({"w": entry()}, bytes(16)))
    base = peak(tmp_path / "small")
    assert peak(tmp_path / "m") - base < 2**29
