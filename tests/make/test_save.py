"""Saving: the formats' own libraries read it, a killed save resumes, and nothing is lost."""

import fcntl
import json
import pathlib
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import models
import numpy as np
import orbax.checkpoint as ocp
import orbax.checkpoint.experimental.v1 as ocp1
import pytest
from kill_saves import tree_hash
from safetensors import deserialize, safe_open
from table import slow_but

import jaxinit
from jaxinit._make import formats, pieces, save
from jaxinit._make.compile import Maker

KEY = jax.random.key(5)
HERE = pathlib.Path(__file__).parents[1] / "helpers"


@pytest.fixture
def small(monkeypatch):
    """Pieces, shards and batches so small that a small model has many of each."""
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1000)
    monkeypatch.setattr(formats, "SHARD_BYTES", 10_000)
    monkeypatch.setattr(save, "_BATCH_BYTES", 3000)


def expected(planned):
    maker = Maker(planned._recording, "test")
    return [pieces.stored(maker.leaf(i)).tobytes() for i in range(len(planned.leaves))]


def read_safetensors(folder, planned):
    found = {}
    for file in folder.glob("*.safetensors"):
        found |= {name: x["data"] for name, x in deserialize(file.read_bytes())}
    assert len(found) == len(planned.leaves)
    return [bytes(found[leaf.path.replace("/", ".")]) for leaf in planned.leaves]


def read_orbax(folder, planned):
    """Reads with orbax's present reader and its v1 reader, and checks that they agree."""
    leaves = json.loads((folder / "jaxinit.json").read_text())["leaves"]
    names = [leaf["name"] for leaf in leaves.values()]
    read = []
    for tree in (ocp.StandardCheckpointer().restore(folder.absolute()), ocp1.load(folder)):
        flat, _ = jax.tree_util.tree_flatten_with_path(tree)
        found = {".".join(jax.tree_util.keystr((k,), simple=True) for k in p): x for p, x in flat}
        read.append([np.asarray(found[name]).tobytes() for name in names])
    assert read[0] == read[1]
    return read[0]


READERS = {"safetensors": read_safetensors, "orbax": read_orbax}


@pytest.mark.parametrize("format", READERS)
@pytest.mark.parametrize("name", models.STRIDE)
def test_the_formats_own_readers_find_every_leaf(name, format, small, tmp_path):
    case = models.MODELS[name]()
    planned = jaxinit.plan(case.init, *case.args)
    planned.save(tmp_path / "model", format=format)
    assert READERS[format](tmp_path / "model", planned) == expected(planned)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_orbax_restores_onto_a_mesh(small, tmp_path):
    case = models.linen_transformer()
    planned = jaxinit.plan(case.init, *case.args)
    planned.save(tmp_path / "model")
    mesh = jax.make_mesh((8,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("d"))

    def target(x):
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    targets = jax.tree.map(target, jax.eval_shape(case.init, *case.args))
    made = planned.materialize()
    for restored in (
        ocp.StandardCheckpointer().restore((tmp_path / "model").absolute(), targets),
        ocp1.load(tmp_path / "model", targets),
    ):
        assert jax.tree.all(jax.tree.map(lambda x: x.sharding == sharding, restored))
        assert jax.tree.all(jax.tree.map(np.array_equal, restored, made))


def test_the_metadata_of_a_checkpoint_serves_tree_init(small, tmp_path):
    case = models.linen_transformer()
    planned = jaxinit.plan(case.init, *case.args)
    planned.save(tmp_path / "model")
    shapes = ocp.StandardCheckpointer().metadata((tmp_path / "model").absolute()).item_metadata.tree
    kept = {"params": {"Embed_0": planned.materialize()["params"]["Embed_0"]}}
    rules = [("scale$", jaxinit.ones), ("kernel$|embedding$", jaxinit.he_normal)]
    made = jaxinit.tree_init(KEY, shapes, rules, only_missing=kept)
    assert made["params"]["Embed_0"] == kept["params"]["Embed_0"]
    assert jax.tree.structure(made) == jax.tree.structure(planned.materialize())


def test_shards_and_index_as_their_users_expect(small, tmp_path):
    case = models.linen_transformer()
    planned = jaxinit.plan(case.init, *case.args)
    planned.save(tmp_path / "m", format="safetensors")
    index = json.loads((tmp_path / "m/model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == planned.nbytes
    assert set(index["weight_map"].values()) == {p.name for p in tmp_path.glob("m/*.safetensors")}
    assert len(set(index["weight_map"].values())) > 2
    for name, file in index["weight_map"].items():
        with safe_open(tmp_path / "m" / file, "numpy") as opened:
            assert name in opened.keys()  # noqa: SIM118
            assert opened.metadata() == {"format": "flax"}


DTYPES = ["float32", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2", "complex64"]


@pytest.mark.parametrize("format", READERS)
def test_every_dtype_scalars_empty_arrays_and_keys(format, small, tmp_path):
    def init(key):
        tree = {name: jaxinit.normal(key, (40, 30), name) for name in DTYPES}
        ints = {name: jnp.arange(5).astype(name) for name in ("int8", "uint32", "bool")}
        return {**tree, **ints, "empty": jnp.zeros((0, 3)), "scalar": jnp.int32(3), "key": key}

    planned = jaxinit.plan(init, KEY)
    planned.save(tmp_path / "m", format=format)
    assert READERS[format](tmp_path / "m", planned) == expected(planned)
    assert json.loads((tmp_path / "m/jaxinit.json").read_text())["keys"] == {"key": "key<fry>"}


def test_what_is_no_array_and_plans_that_run_whole(small, tmp_path):
    def init(key):
        jax.debug.print("made")
        return {"w": jax.random.normal(key, (40, 30)), "f": jax.nn.relu, "n": None}

    planned = jaxinit.plan(init, KEY)
    made = np.asarray(planned.materialize()["w"]).tobytes()
    for format, read in READERS.items():
        planned.save(tmp_path / format, format=format)
        assert read(tmp_path / format, planned) == [made]


def test_a_leaf_is_never_held_whole(tmp_path):
    """In a process of its own: 1 GiB in one leaf and 256 MiB in another."""
    code = """
import jax, jaxinit, sys
def status(field):
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(field)) / 1024
def init(key, rows):
    return {"w": jaxinit.he_normal(key, (rows, 2**14)), "b": jaxinit.normal(key, (rows, 2**12))}
for format in ("safetensors", "orbax"):
    jaxinit.plan(init, jax.random.key(0), 64).save(sys.argv[1] + "/small", format=format)
    before = status("VmRSS")
    jaxinit.plan(init, jax.random.key(0), 2**14).save(sys.argv[1] + "/large", format=format)
    print(status("VmHWM") - before)
    import shutil
    shutil.rmtree(sys.argv[1] + "/small"), shutil.rmtree(sys.argv[1] + "/large")
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert all(float(line) < 512 for line in done.stdout.split()), done.stdout


# resuming ---------------------------------------------------------------------------------------


def sample(seed=5, scale=0.02):
    init = jax.nn.initializers.normal(scale)
    return jaxinit.plan(
        lambda key: {str(i): init(k, (25, 30)) for i, k in enumerate(jax.random.split(key, 9))},
        jax.random.key(seed),
    )


class StoppedError(Exception):
    pass


def cut_off(planned, path, format, monkeypatch, after):
    """Starts a save that fails after it has made some pieces."""
    write, count = pieces.make, iter(range(after))

    def make(maker, piece):
        if next(count, None) is None:
            raise StoppedError
        return write(maker, piece)

    with monkeypatch.context() as patch:
        patch.setattr(pieces, "make", make)
        with pytest.raises(StoppedError):
            planned.save(path, format=format)


@pytest.mark.parametrize("format", READERS)
def test_a_save_goes_on_where_it_was(format, small, tmp_path, monkeypatch):
    planned = sample()
    cut_off(planned, tmp_path / "m", format, monkeypatch, 20)
    logs = list((tmp_path / "m.partial").glob("jaxinit.done/*.log"))
    done = sum(len(log.read_text().splitlines()) for log in logs)
    assert 0 < done <= 20
    made = []
    make = pieces.make
    monkeypatch.setattr(pieces, "make", lambda m, piece: (made.append(piece), make(m, piece))[1])
    planned.save(tmp_path / "m", format=format)
    total = sum(
        len(list(pieces.cut(i, e))) for i, e in enumerate(pieces.entries(planned._recording))
    )
    assert len(made) == total - done + 1  # the rest, and one to compare
    assert READERS[format](tmp_path / "m", planned) == expected(planned)
    made.clear()
    planned.save(tmp_path / "m", format=format)  # complete: one is compared, nothing is done
    assert len(made) == 1


def test_a_torn_line_of_the_log_does_not_count(small, tmp_path, monkeypatch):
    """Nor after a second interruption, when more lines have been written."""
    planned = sample()
    cut_off(planned, tmp_path / "m", "safetensors", monkeypatch, 8)
    (log,) = (tmp_path / "m.partial").glob("jaxinit.done/*.log")
    log.write_text(log.read_text() + "2")
    cut_off(planned, tmp_path / "m", "safetensors", monkeypatch, 8)
    planned.save(tmp_path / "m", format="safetensors")
    assert read_safetensors(tmp_path / "m", planned) == expected(planned)


def test_a_struct_whose_values_do_not_matter_is_no_part_of_the_checkpoint(
    small, tmp_path, monkeypatch
):
    case = models.linen_transformer()
    tokens = jax.ShapeDtypeStruct(models.TOKENS.shape, models.TOKENS.dtype)
    cut_off(jaxinit.plan(case.init, KEY, tokens), tmp_path / "m", "orbax", monkeypatch, 20)
    tokens = jax.ShapeDtypeStruct(models.TOKENS.shape, models.TOKENS.dtype)
    jaxinit.plan(case.init, KEY, tokens).save(tmp_path / "m")
    jaxinit.plan(case.init, KEY, models.TOKENS).save(tmp_path / "m")


def test_two_saves_at_once(small, tmp_path):
    (tmp_path / "m.partial/jaxinit.done").mkdir(parents=True)
    with open(tmp_path / "m.partial/jaxinit.done/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OSError, match=r"^Plan\.save: another process is saving to .*m; wait"):
            sample().save(tmp_path / "m")
    sample().save(tmp_path / "m")


def test_without_file_locks_all_but_saving_works(tmp_path):
    """As on Windows, where Python has no module fcntl."""
    script = """
import sys
sys.modules["fcntl"] = None
import jax, jaxinit
planned = jaxinit.plan(lambda key: {"kernel": jaxinit.he_normal(key, (8, 4))}, jax.random.key(0))
print(planned.materialize()["kernel"].shape)
planned.save(sys.argv[1])
"""
    command = [sys.executable, "-c", script, tmp_path / "m"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "(8, 4)\n"
    assert "OSError: Plan.save: needs the file locks of Linux or macOS; got linux." in done.stderr
    assert not list(tmp_path.iterdir())


def test_cut_off_while_the_manifest_is_written(small, tmp_path):
    (tmp_path / "m.partial/jaxinit.done").mkdir(parents=True)
    (tmp_path / "m.partial/jaxinit.json.new").write_text("{")
    sample().save(tmp_path / "m")
    assert read_orbax(tmp_path / "m", sample()) == expected(sample())


OTHERS = {
    "seed": (
        lambda: sample(seed=6),
        r"is an interrupted checkpoint of another plan, seed or format",
    ),
    "values": (lambda: sample(scale=0.03), r"was begun with other values of '0' than this plan"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_plan_does_not_go_on(name, small, tmp_path, monkeypatch):
    other, text = OTHERS[name]
    cut_off(sample(), tmp_path / "m", "safetensors", monkeypatch, 20)
    before = tree_hash(tmp_path)
    with pytest.raises(ValueError, match=r"^Plan\.save: .*m\.partial " + text) as caught:
        other().save(tmp_path / "m", format="safetensors")
    assert "\n" not in str(caught.value)
    assert tree_hash(tmp_path) == before
    sample().save(tmp_path / "m", format="safetensors")


def test_what_exists_is_kept(small, tmp_path):
    planned = sample()
    for name in ("m", "n.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "precious").write_text("mine")
    before = tree_hash(tmp_path)
    with pytest.raises(FileExistsError, match=r"m exists and is not what this plan makes; nothing"):
        planned.save(tmp_path / "m")
    with pytest.raises(FileExistsError, match=r"n\.partial, where the checkpoint would grow, exis"):
        planned.save(tmp_path / "n")
    assert tree_hash(tmp_path) == before
    (tmp_path / "f.partial").write_text("mine")
    with pytest.raises(FileExistsError, match=r"f\.partial, where the checkpoint would grow, exis"):
        planned.save(tmp_path / "f")
    planned.save(tmp_path / "done")
    for other in (sample(seed=6), sample(scale=0.03)):
        with pytest.raises(FileExistsError, match=r"done exists and is not what this plan makes;"):
            other.save(tmp_path / "done")


def test_paths_that_are_relative_or_end_in_a_slash(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sample().save("a/", format="safetensors")
    assert read_safetensors(tmp_path / "a", sample()) == expected(sample())


def test_what_a_format_cannot_hold(tmp_path):
    planned = jaxinit.plan(lambda key: {"a": {"b": jnp.zeros(3, "int4")}}, KEY)
    with pytest.raises(ValueError, match=r"^Plan\.save: safetensors cannot hold 'a/b' \(has no "):
        planned.save(tmp_path / "m", format="safetensors")
    with pytest.raises(ValueError, match=r"^Plan\.save: format must be 'orbax' or 'safetensors'; "):
        planned.save(tmp_path / "m", format="pickle")
    twice = jaxinit.plan(lambda key: {"a": {"b": jnp.zeros(3)}, "a.b": jnp.zeros(3)}, KEY)
    with pytest.raises(ValueError, match=r"stand for several leaves: a\.b; rename the leaves"):
        twice.save(tmp_path / "m")
    own = jaxinit.plan(lambda key: {"jaxinit": {"done": jnp.zeros(3)}}, KEY)
    with pytest.raises(ValueError, match=r"orbax cannot hold 'jaxinit/done' \(the checkpoint"):
        own.save(tmp_path / "m")
    tree = {"done2": jnp.zeros(3), "json5": jnp.zeros(3)}
    alike = jaxinit.plan(lambda key: {"jaxinit": tree}, KEY)
    alike.save(tmp_path / "alike")  # none of our files
    shutil.rmtree(tmp_path / "alike")
    bare = jaxinit.plan(jnp.zeros_like, jnp.ones(3))
    with pytest.raises(ValueError, match=r"is one array without a name; return a dict of it"):
        bare.save(tmp_path / "m")
    unknown = jaxinit.plan(lambda x: {"x": x + 1}, jax.ShapeDtypeStruct((3,), "float32"))
    with pytest.raises(ValueError, match=r"^Plan\.save: expected arrays with values"):
        unknown.save(tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_no_room_is_said_before_any_work(tmp_path):
    planned = jaxinit.plan(lambda key: {"w": jax.random.normal(key, (2**22, 2**20))}, KEY)
    with pytest.raises(OSError, match=r"needs 16 TiB more and its disk has .* free; nothing"):
        planned.save(tmp_path / "m")


FULL = """
import jax, jaxinit, resource, sys
from jaxinit._make import pieces, save
pieces.PIECE_BYTES, save._BATCH_BYTES = 2**18, 2**18
planned = jaxinit.plan(
    lambda key: {"w": jax.random.normal(key, (2**10, 2**10))}, jax.random.key(0)
)
if sys.argv[2] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**17, 2**17))
planned.save(sys.argv[1], format=sys.argv[3])
"""


@pytest.mark.parametrize("format", READERS)
def test_a_disk_that_fills_loses_nothing(format, tmp_path):
    """A limit on the size of files makes writing fail in the same way as a full disk."""

    def run(how):
        command = [sys.executable, "-c", FULL, str(tmp_path / "m"), how, format]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run("full")
    assert "OSError: Plan.save: " in done.stderr
    assert "save again: it resumes" in done.stderr
    assert not (tmp_path / "m").exists()
    assert run("room").returncode == 0
    planned = jaxinit.plan(
        lambda key: {"w": jax.random.normal(key, (2**10, 2**10))}, jax.random.key(0)
    )
    assert READERS[format](tmp_path / "m", planned) == expected(planned)


@pytest.mark.parametrize("format", slow_but(READERS, ["safetensors"]))
@pytest.mark.parametrize("moments", slow_but([2, 12], [2]))
def test_killed_at_random_moments(format, moments, tmp_path):
    """Each killed save is resumed and gives the bytes of a save that was left alone."""
    command = [sys.executable, str(HERE / "kill_saves.py"), str(tmp_path), format, str(moments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    killed, same, begun = map(int, done.stdout.split()[-3:])
    assert killed == same == moments
    assert begun > moments / 3  # killed when some pieces were on disk
