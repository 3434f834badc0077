"""The tree: plan what an init function makes, then make it leaf by leaf.

One program serves all leaves that are made alike, so that compiling does not grow with the depth
of a model. Nothing is asked of the model: any init function will do, with any initializers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from .. import _text
from .compile import LeafSharding, Maker
from .recording import Executable, Leaf, Recording, record
from .save import save

Tree = Any
OutShardings = Any  # a tree, a prefix of one, one sharding, or a function of (path, shape)


@dataclass(frozen=True, eq=False)
class Plan:
    """What an init function makes, and by which programs. ``print`` it for a table.

    Attributes:
      leaves: the arrays of the tree, in order: path, shape, dtype, nbytes, group.
      executables: the programs that make them, one for each group.
      whole: why the function runs as one program, where it must; else None.
    """

    _recording: Recording

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """The arrays of the tree, in order."""
        return self._recording.leaves

    @property
    def executables(self) -> tuple[Executable, ...]:
        """The programs that make the leaves; ``leaf.group`` is an index into them."""
        return self._recording.executables

    @property
    def whole(self) -> str | None:
        """Why the function runs as one program, where it must; else None."""
        return self._recording.whole

    @property
    def nbytes(self) -> int:
        """Bytes of all leaves."""
        return self._recording.nbytes

    def __repr__(self) -> str:
        return (
            f"Plan({len(self.leaves)} leaves, {len(self.executables)} executables, "
            f"{_text.size(self.nbytes)})"
        )

    def __str__(self) -> str:
        headings = ("path", "shape", "dtype", "bytes", "group")
        rows = [
            (x.path, _text.shape(x.shape), str(x.dtype), _text.size(x.nbytes), str(x.group))
            for x in sorted(self.leaves, key=lambda leaf: _text.natural(leaf.path))
        ]
        count = sum(math.prod(leaf.shape) for leaf in self.leaves)
        total = (
            f"{len(self.leaves)} leaves, {count:,} elements, {_text.size(self.nbytes)}, "
            f"{len(self.executables)} executables"
        )
        whole = [f"runs whole: {self.whole}"] if self.whole else []
        return "\n".join([_text.table(headings, rows), total, *whole])

    def memory(self, shardings: OutShardings = None) -> dict[Any, int]:
        """Bytes of the leaves on each device, as ``shardings`` places them.

        Takes what ``materialize`` takes. The devices of an abstract mesh, which a laptop can plan
        for without having them, are numbered from 0.
        """
        total: dict[Any, int] = {}
        resolved = self._shardings("Plan.memory", shardings)
        for leaf, sharding in zip(self.leaves, resolved, strict=True):
            held = leaf.nbytes
            if sharding is not None and leaf.shape:
                part = math.prod(sharding.shard_shape(leaf.shape))
                held = part * (leaf.nbytes // max(math.prod(leaf.shape), 1))
            for device in _devices(sharding):
                total[device] = total.get(device, 0) + held
        return total

    def materialize(self, out_shardings: OutShardings = None, progress: bool = False) -> Tree:
        """The tree, its leaves made one after another, each straight into its sharding.

        Bit-identical to ``jax.jit(init_fn)(*args)``. ``out_shardings`` is a tree of shardings, a
        prefix of one, one sharding, or a function of (path, shape); ``progress`` shows a bar.
        Raises ValueError where a leaf depends on an argument that was given as a ShapeDtypeStruct.
        """
        return self._materialize("Plan.materialize", out_shardings, progress)

    def _materialize(self, call: str, out_shardings: OutShardings, progress: bool) -> Tree:
        shardings = self._shardings(call, out_shardings)
        maker = Maker(self._recording, call)
        if self.whole:
            return self._recording.skeleton.restored(maker.whole(shardings))
        made: list[Any] = []
        with _text.bar(progress, "making", self.nbytes) as advance:
            for i, (leaf, sharding) in enumerate(zip(self.leaves, shardings, strict=True)):
                made.append(maker.leaf(i, sharding))
                if progress:
                    made[-1].block_until_ready()
                advance(leaf.nbytes, leaf.path)
        return self._recording.skeleton.restored(made)

    def save(
        self, path: str | os.PathLike[str], format: str = "orbax", progress: bool = False
    ) -> None:
        """Make the tree and write it as a checkpoint, without ever holding it.

        Leaf by leaf, leaves over 128 MiB part by part, under 512 MB at a time. A save that was cut
        off goes on where it was when it is called again, and gives the same bytes; where it is
        complete already, nothing is done. Under ``jax.distributed`` each process makes and writes
        its own share, with no exchange of values.

        Args:
          path: the folder to make. Until it is complete it grows in ``path`` + ".partial".
          format: "orbax", read by orbax's own readers; or "safetensors", ``model.safetensors`` or
            shards of 5 GB with an index, names joined by dots. Random keys are stored as their
            data. ``jaxinit.json`` in the folder says what the checkpoint is.
          progress: show a bar.

        Raises:
          ValueError: an unknown format, a dtype that it cannot hold, leaves of the same name, an
            interrupted save of another plan; arguments without values.
          FileExistsError: something else is at ``path``; it is left as it is.
          OSError: no room on the disk, or it cannot be written; what is there is kept.

        >>> import jax, tempfile
        >>> from safetensors.numpy import load_file
        >>> init = jax.nn.initializers.he_normal()
        >>> planned = plan(lambda key: {"kernel": init(key, (8, 4))}, jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     planned.save(f"{folder}/model", format="safetensors")
        ...     load_file(f"{folder}/model/model.safetensors")["kernel"].shape
        (8, 4)
        """
        save(self._recording, path, format, progress)

    def _shardings(self, call: str, given: OutShardings) -> list[Any]:
        """The sharding of each leaf."""
        if callable(given):
            found = [given(leaf.path, leaf.shape) for leaf in self.leaves]
        else:
            found = self._prefix(call, given)
        return [_checked(call, leaf, s) for leaf, s in zip(self.leaves, found, strict=True)]

    def _prefix(self, call: str, given: OutShardings) -> list[LeafSharding]:
        if given is None or isinstance(given, Sharding | PartitionSpec):
            return [given] * len(self.leaves)
        skeleton = self._recording.skeleton
        tree = skeleton.filled(range(len(self.leaves)))
        try:
            spread = jax.tree.broadcast(given, tree, is_leaf=_is_sharding)
        except ValueError as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise ValueError(
                f"{call}: out_shardings must be the tree, a prefix of it, one sharding, or a "
                f"function of (path, shape); got a {type(given).__name__} that does not fit "
                f"({reason}). Start from jax.eval_shape of the init function."
            ) from None
        flat = jax.tree.leaves(spread, is_leaf=_is_sharding)
        return list(skeleton.select(flat))


def plan(init_fn: Callable[..., Tree], *args: Any, **kwargs: Any) -> Plan:
    """A plan of ``init_fn(*args, **kwargs)``; traces it, and allocates nothing.

    Arguments are arrays or ShapeDtypeStructs; everything else (bool, int, str, None, a function)
    is static. What the function returns may hold non-arrays, which are carried aside.

    Raises TypeError where ``init_fn`` is no function.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> def init(key):
    ...     return {"bias": jnp.zeros(4), "kernel": jax.nn.initializers.he_normal()(key, (8, 4))}
    >>> print(plan(init, jax.random.key(0)))
    path    shape  dtype    bytes  group
    ------  -----  -------  -----  -----
    bias    4      float32  16 B   0
    kernel  8 x 4  float32  128 B  1
    2 leaves, 36 elements, 144 B, 2 executables
    """
    return _plan("plan", init_fn, args, kwargs)


def materialize(
    init_fn: Callable[..., Tree],
    *args: Any,
    out_shardings: OutShardings = None,
    progress: bool = False,
    **kwargs: Any,
) -> Tree:
    """``init_fn(*args, **kwargs)``, bit-identical to ``jax.jit(init_fn)``, made leaf by leaf.

    Compiles one program per distinct leaf, not per leaf. ``out_shardings`` and ``progress`` are
    those of ``Plan.materialize``; a plan to look at first comes from ``plan``.

    Raises TypeError where ``init_fn`` is no function, ValueError where an argument has no values
    or a sharding does not fit.

    >>> import jax
    >>> init = jax.nn.initializers.he_normal()
    >>> materialize(lambda key: init(key, (8, 4)), jax.random.key(0)).shape
    (8, 4)
    """
    planned = _plan("materialize", init_fn, args, kwargs)
    return planned._materialize("materialize", out_shardings, progress)


def _plan(call: str, init_fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Plan:
    if not callable(init_fn):
        raise TypeError(
            f"{call}: expected an init function first, as model.init; got a "
            f"{type(init_fn).__name__}. Write {call}(model.init, key, x)."
        )
    return Plan(record(init_fn, args, kwargs))


def _is_sharding(x: Any) -> bool:
    return x is None or isinstance(x, Sharding | PartitionSpec)


def _checked(call: str, leaf: Leaf, sharding: Any) -> Any:
    """The sharding, once it is known to fit the leaf."""
    if isinstance(sharding, PartitionSpec):
        mesh = jax.sharding.get_mesh()
        if mesh.empty:
            raise ValueError(
                f"{call}: out_shardings has {sharding} for {leaf.path!r}, which names axes of a "
                f"mesh, and none is set. Pass a NamedSharding, or enter jax.set_mesh(mesh)."
            )
        sharding = NamedSharding(mesh, sharding)
    if sharding is None:
        return None
    if not isinstance(sharding, Sharding):
        raise TypeError(
            f"{call}: out_shardings must give a Sharding, a PartitionSpec or None for each leaf; "
            f"got a {type(sharding).__name__} for {leaf.path!r}."
        )
    try:
        sharding.shard_shape(leaf.shape)
    except ValueError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(
            f"{call}: out_shardings does not fit {leaf.path!r} of shape {leaf.shape}: {reason}. "
            f"Replicate the axis, or shard one that divides."
        ) from None
    return sharding


def _devices(sharding: Any) -> Iterable[Any]:
    """The devices that hold a leaf."""
    if sharding is None:
        return jax.devices()[:1]
    if isinstance(sharding, NamedSharding) and isinstance(sharding.mesh, jax.sharding.AbstractMesh):
        return range(sharding.mesh.size)
    return sharding.device_set
