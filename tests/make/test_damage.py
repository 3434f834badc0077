"""Damage to a checkpoint is found, nothing of anyone else's is touched, and errors are one line."""

import fcntl
import json
import os
import re
import shutil
import zlib

import jax.numpy as jnp
import models
import numpy as np
import pytest
from kill_saves import tree_hash
from test_save import KEY, READERS, cut_off, expected, sample, small  # noqa: F401 - a fixture

import jaxinit
from jaxinit._make import job, manifest, pieces
from jaxinit._make.save import verify


def flip(file, place=-1):
    """Flips one bit of a file."""
    raw = bytearray(file.read_bytes())
    raw[place] ^= 1
    file.write_bytes(raw)


def damage(folder, format, how=flip):
    """Damages a finished piece of array 1."""
    if format == "orbax":
        how(folder / "1/0.0")
    else:
        file = min(folder.glob("*-00001-*.safetensors"))
        flip(file, file.stat().st_size - 4000)  # of three arrays of 3000 bytes


def one_line(call, error):
    with pytest.raises(error) as caught:
        call()
    text = str(caught.value)
    assert text.startswith("Plan.save: ")
    assert "\n" not in text
    return text


def contents(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# damage -----------------------------------------------------------------------------------------


DAMAGE = [("orbax", flip), ("orbax", lambda file: file.unlink()), ("safetensors", flip)]


@pytest.mark.parametrize(("format", "how"), DAMAGE, ids=["orbax", "chunk", "safetensors"])
def test_a_damaged_piece_is_made_again(format, how, small, tmp_path, monkeypatch):  # noqa: F811
    planned = sample()
    cut_off(planned, tmp_path / "m", format, monkeypatch, 30)
    damage(tmp_path / "m.partial", format, how)
    text = r"^Plan\.save: .* was damaged; these are made again: 1 of \d+ finished pieces \(1\)"
    with pytest.warns(UserWarning, match=text) as caught:
        planned.save(tmp_path / "m", format=format)
    assert [warned.filename for warned in caught] == [__file__]
    assert READERS[format](tmp_path / "m", planned) == expected(planned)
    assert verify(tmp_path / "m") == []


def test_lines_of_the_log_that_cannot_be_read(small, tmp_path, monkeypatch):  # noqa: F811
    planned = sample()
    cut_off(planned, tmp_path / "m", "safetensors", monkeypatch, 20)
    (log,) = (tmp_path / "m.partial").glob("jaxinit.done/*.log")
    log.write_bytes(b"\xff\xfe\n99999 00000000\n-3 12\n" + log.read_bytes())
    with pytest.warns(UserWarning, match=r"and 3 that the logs do not name"):
        planned.save(tmp_path / "m", format="safetensors")
    assert READERS["safetensors"](tmp_path / "m", planned) == expected(planned)


def test_a_checksum_of_the_log_that_is_wrong(small, tmp_path, monkeypatch):  # noqa: F811
    planned = sample()
    cut_off(planned, tmp_path / "m", "safetensors", monkeypatch, 20)
    (log,) = (tmp_path / "m.partial").glob("jaxinit.done/*.log")
    log.write_text(re.sub(r"^2 \w+$", "2 00000000", log.read_text(), flags=re.MULTILINE))
    with pytest.warns(UserWarning, match=r"1 of \d+ finished pieces \(0\)"):
        planned.save(tmp_path / "m", format="safetensors")
    assert verify(tmp_path / "m") == []


@pytest.mark.parametrize("format", READERS)
def test_a_complete_checkpoint_is_verified(format, small, tmp_path):  # noqa: F811
    planned = sample()
    planned.save(tmp_path / "m", format=format)
    assert verify(tmp_path / "m") == []
    planned.save(tmp_path / "m", format=format)
    damage(tmp_path / "m", format)
    (message,) = verify(tmp_path / "m")
    assert message == "1 does not match its checksum (1 of 4 pieces)"
    before = contents(tmp_path)
    text = one_line(lambda: planned.save(tmp_path / "m", format=format), ValueError)
    assert message in text
    assert contents(tmp_path) == before


@pytest.mark.parametrize("format", READERS)
def test_every_bit_counts(format, small, tmp_path):  # noqa: F811
    """A flipped bit in any file of a checkpoint, but orbax's notes of time and place, is found."""
    planned = jaxinit.plan(lambda key: {"a": jaxinit.normal(key, (10, 30)), "b": jnp.ones(3)}, KEY)
    planned.save(tmp_path / "m", format=format)
    assert verify(tmp_path / "m") == []
    files = [p for p in (tmp_path / "m").rglob("*") if p.is_file()]
    files = [p for p in files if p.name != "commit_success.txt"]
    assert len(files) > 1
    for file in files:
        if file.name in ("_CHECKPOINT_METADATA", "jaxinit.json"):
            continue
        for place in (0, file.stat().st_size // 2, -1):
            flip(file, place)
            assert verify(tmp_path / "m"), (file, place)
            flip(file, place)
    for file in files:
        file.rename(tmp_path / "away")
        if file.name == "jaxinit.json":
            with pytest.raises(FileNotFoundError):
                verify(tmp_path / "m")
        else:
            assert verify(tmp_path / "m"), file
        (tmp_path / "away").rename(file)


@pytest.mark.parametrize("format", READERS)
def test_two_saves_have_the_same_bytes(format, tmp_path):
    """In folders of any name, but for orbax's notes of time and place; a flipped bit is seen."""
    planned = jaxinit.plan(lambda key: {"a": jaxinit.normal(key, (10, 30))}, KEY)
    for name in ("m", "another name"):
        planned.save(tmp_path / name, format)
    assert tree_hash(tmp_path / "m") == tree_hash(tmp_path / "another name")
    flip(tmp_path / "m/jaxinit.json")
    assert tree_hash(tmp_path / "m") != tree_hash(tmp_path / "another name")


def test_checksums_are_those_of_zlib_over_the_arrays(tmp_path):
    planned = jaxinit.plan(lambda key: {"a": {"w": jaxinit.normal(key, (30, 30))}}, KEY)
    planned.save(tmp_path / "m")
    made = np.asarray(planned.materialize()["a"]["w"]).tobytes()
    found = json.loads((tmp_path / "m/jaxinit.json").read_text())["leaves"]["a/w"]
    assert found["checksums"] == [f"{zlib.crc32(made):08x}"]


DAMAGED = {
    "nothing": b"",
    "not json": b"{",
    "not text": b"\xff\xfe\x00",
    "not an object": b"[1]",
    "other keys": b'{"checksum": "00000000"}',
    "of another version": b'{"fingerprint": "x", "names": []}',
    "nested": b"[" * 100_000,
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_manifest_is_one_line(name, small, tmp_path, monkeypatch):  # noqa: F811
    cut_off(sample(), tmp_path / "m", "safetensors", monkeypatch, 20)
    (tmp_path / "m.partial/jaxinit.json").write_bytes(DAMAGED[name])
    before = contents(tmp_path)
    text = one_line(lambda: sample().save(tmp_path / "m", format="safetensors"), ValueError)
    assert "m.partial/jaxinit.json is damaged" in text
    assert contents(tmp_path) == before
    shutil.move(tmp_path / "m.partial", tmp_path / "n")
    with pytest.raises(ValueError, match=r"^verify: .*jaxinit\.json is damaged[^\n]*$"):
        verify(tmp_path / "n")


@pytest.mark.parametrize("format", READERS)
def test_damaged_files_that_are_no_weights_are_one_line(format, small, tmp_path, monkeypatch):  # noqa: F811
    cut_off(sample(), tmp_path / "m", format, monkeypatch, 20)
    name = "_METADATA" if format == "orbax" else "model.safetensors.index.json"
    (tmp_path / "m.partial" / name).write_bytes(b"{")
    text = one_line(lambda: sample().save(tmp_path / "m", format=format), ValueError)
    assert f"m.partial is damaged ({name} does not match its checksum)" in text


def test_what_cannot_be_verified(tmp_path, small, monkeypatch):  # noqa: F811
    with pytest.raises(FileNotFoundError, match=r"^verify: .* holds no jaxinit\.json"):
        verify(tmp_path)
    cut_off(sample(), tmp_path / "m", "orbax", monkeypatch, 20)
    with pytest.raises(ValueError, match=r"^verify: .* is not complete; save again"):
        verify(tmp_path / "m.partial")


# names ------------------------------------------------------------------------------------------

PATHS = [".", "..", "", "/elsewhere", "a/../../b", "a//b", "a\\b", "a\0b", "\ud800", "\u00e9" * 130]
UNFIT = [
    *(("orbax", name) for name in [*PATHS, "_METADATA", "_CHECKPOINT_METADATA"]),
    *(("orbax", name) for name in ["jaxinit.json", "jaxinit.json.new", "jaxinit.done/0"]),
    *(("safetensors", name) for name in ["__metadata__", "\ud800"]),
]


@pytest.mark.parametrize(("format", "name"), UNFIT, ids=range(len(UNFIT)))
def test_names_that_cannot_come_back_are_refused(format, name, tmp_path):
    tree = {name: jnp.zeros(3), "other": jnp.zeros(3)}
    text = one_line(lambda: jaxinit.plan(lambda: tree).save(tmp_path / "m", format), ValueError)
    assert f"{format} cannot hold {name!r} (" in text
    assert list(tmp_path.iterdir()) == []


def test_an_array_named_by_an_absolute_path_stays_inside(tmp_path):
    tree = {str(tmp_path / "outside/evil"): jnp.zeros(3)}
    planned = jaxinit.plan(lambda: tree)
    one_line(lambda: planned.save(tmp_path / "orbax"), ValueError)
    planned.save(tmp_path / "m", "safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_an_array_whose_folder_would_lie_in_another_s(tmp_path):
    planned = jaxinit.plan(lambda: {"a": jnp.zeros(3), "a/0": jnp.zeros(3)})
    text = one_line(lambda: planned.save(tmp_path / "m"), ValueError)
    assert "'a/0' (the name is a path inside the folder of a)" in text


FIT = ["a'b", 'a"b', "a\nb", "a b", "é", "a:b*?", "~", "a.", ".a", "mlp/~/linear"]
FIT += ["jaxinit.donex", "jaxinit.json5", "a/jaxinit.done"]  # almost files of jaxinit's own


@pytest.mark.parametrize("format", READERS)
def test_odd_names_that_come_back(format, tmp_path):
    tree = {name: jnp.full(3, i) for i, name in enumerate(FIT)}
    planned = jaxinit.plan(lambda: {**tree, "m": tree})
    planned.save(tmp_path / "m", format)
    assert READERS[format](tmp_path / "m", planned) == expected(planned)


def test_a_nested_array_that_orbax_would_put_among_the_logs(tmp_path):
    planned = jaxinit.plan(lambda: {"jaxinit": {"done/x": jnp.zeros(3)}})
    text = one_line(lambda: planned.save(tmp_path / "m"), ValueError)
    assert "orbax cannot hold 'jaxinit/done/x' (the checkpoint keeps this name" in text
    assert list(tmp_path.iterdir()) == []


def test_in_safetensors_no_name_is_a_file(tmp_path):
    planned = jaxinit.plan(lambda: {"jaxinit": {"json": jnp.ones(3), "done": jnp.zeros(3)}})
    planned.save(tmp_path / "m", "safetensors")
    assert READERS["safetensors"](tmp_path / "m", planned) == expected(planned)


@pytest.mark.parametrize("path", ["gs://bucket/x", "s3://bucket/x", "file:///tmp/x", "gs:/bucket"])
def test_a_path_of_another_filesystem(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = one_line(lambda: sample().save(path), ValueError)
    assert f"path must be a folder on a mounted filesystem; got {path!r}" in text
    assert "path must be the folder" in one_line(lambda: sample().save(3), TypeError)
    assert list(tmp_path.iterdir()) == []


# what belongs to someone else -------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ["jaxinit.done/lock", "data"],
        ["jaxinit.done/0.1.log", "model.safetensors"],
        ["jaxinit.done/data"],
        ["jaxinit.done/prepared/data"],
        ["jaxinit.done"],
    ],
    ids=str,
)
def test_a_folder_with_someone_s_data_is_left_alone(names, tmp_path, small):  # noqa: F811
    for name in names:
        file = tmp_path / "m.partial" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("mine")
    before = contents(tmp_path)
    text = one_line(lambda: sample().save(tmp_path / "m"), FileExistsError)
    assert "exists and holds something else; nothing was changed" in text
    assert contents(tmp_path) == before


def test_data_that_comes_later_is_kept(tmp_path, small, monkeypatch):  # noqa: F811
    cut_off(sample(), tmp_path / "m", "orbax", monkeypatch, 20)
    (tmp_path / "m.partial/notes").write_text("mine")
    (tmp_path / "m.partial/jaxinit.done/notes").write_text("mine")
    sample().save(tmp_path / "m")
    assert (tmp_path / "m/notes").read_text() == "mine"
    assert (tmp_path / "m/jaxinit.done/notes").read_text() == "mine"
    assert not (tmp_path / "m/jaxinit.done/lock").exists()
    assert READERS["orbax"](tmp_path / "m", sample()) == expected(sample())


@pytest.mark.parametrize("filled", [True, False])
def test_a_target_that_appears_while_saving(filled, tmp_path, small, monkeypatch):  # noqa: F811
    make = pieces.make

    def appear(maker, piece):
        (tmp_path / "m").mkdir(exist_ok=True)
        if filled:
            (tmp_path / "m/precious").write_text("mine")
        return make(maker, piece)

    monkeypatch.setattr(pieces, "make", appear)
    text = one_line(lambda: sample().save(tmp_path / "m"), FileExistsError)
    assert "something appeared at" in text
    assert [p.name for p in (tmp_path / "m").iterdir()] == ["precious"] * filled
    assert verify(tmp_path / "m.partial") == []


def test_another_save_that_ends_meanwhile(tmp_path, small, monkeypatch):  # noqa: F811
    """A save that gets the lock only when another has ended touches nothing."""

    def ended(lock, how):
        (tmp_path / "m").mkdir()

    monkeypatch.setattr(fcntl, "flock", ended)
    text = one_line(lambda: sample().save(tmp_path / "m"), OSError)
    assert "another process has just saved to" in text
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("format", READERS)
@pytest.mark.parametrize("calls", range(8))
def test_interrupted_while_preparing(format, calls, tmp_path, small, monkeypatch):  # noqa: F811
    """After any number of renames the save goes on, and what it leaves is a whole checkpoint."""
    count = iter(range(calls))

    def stop(step):
        def call(*args):
            if next(count, None) is None:
                raise OSError("stopped")
            return step(*args)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", stop(os.rename))
        patch.setattr(os, "replace", stop(os.replace))
        with pytest.raises(OSError, match="stopped"):
            sample().save(tmp_path / "m", format)
    sample().save(tmp_path / "m", format)
    assert READERS[format](tmp_path / "m", sample()) == expected(sample())
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_what_checks_names_knows_what_orbax_calls_them(tmp_path):
    """The names that are checked before any work are those that orbax then gives."""
    for make in (
        models.linen_transformer,
        models.nnx_sharded,
        models.haiku_mlp,
        models.train_state,
    ):
        case = make()
        planned = jaxinit.plan(case.init, *case.args)
        _, planned_job = job.planned_job(planned._recording, tmp_path / "m", "orbax")
        planned.save(tmp_path / "m")
        found = manifest.read("test", tmp_path / "m")
        assert found is not None
        assert list(found.names) == job.dotted_names(planned._recording)
        assert found.entries == planned_job.planned.entries
        shutil.rmtree(tmp_path / "m")
