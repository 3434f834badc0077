"""Plans what an init function makes, then makes it array by array, on one device or a mesh.

Arrays that are made in the same way share one compiled program, so compile time does not grow with
the depth of a model. The model need not know: any init function works, with any initializers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import AbstractMesh, Mesh, PartitionSpec, Sharding

from .. import _text
from .._program.misuse import kind
from .._program.models import HasInit, init_function
from .axis_names import AxisRules, axis_names, check_rules, named_sharding
from .compile import LeafSharding, Maker
from .formats import FormatName
from .recording import Executable, Leaf, Recording, record, rows_of
from .save import save
from .shardings import check_real, checked, devices, is_sharding

Tree = Any
OutShardings = Any  # a tree, a prefix of one, one sharding, or a function of (path, shape)


@dataclass(frozen=True, eq=False)
class Plan:
    """What an init function makes, and by which programs. ``print`` it for a table.

    ``plan`` returns it.

    Attributes:
      leaves: the arrays of the tree, in order; each has path, shape, dtype, nbytes and group.
      executables: the programs that make them; ``leaf.group`` is a position among them.
      whole: why the function must run as one program; None if it need not.
      nbytes: the bytes of all arrays.
    """

    _recording: Recording

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """The arrays of the tree, in order."""
        return self._recording.leaves

    @property
    def executables(self) -> tuple[Executable, ...]:
        """The programs that make the arrays; ``leaf.group`` is a position among them."""
        return self._recording.executables

    @property
    def whole(self) -> str | None:
        """Why the function must run as one program; None if it need not."""
        return self._recording.whole

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays."""
        return self._recording.nbytes

    def __reduce__(self) -> Any:
        raise TypeError(
            "Plan: cannot be pickled, because it holds a traced computation; pickle the init "
            "function and its arguments and call plan again, or call Plan.save."
        )

    def __repr__(self) -> str:
        return (
            f"Plan({len(self.leaves)} leaves, {len(self.executables)} executables, "
            f"{_text.size(self.nbytes)})"
        )

    def __str__(self) -> str:
        return "\n".join([self.table(), *self._totals()])

    def _repr_html_(self) -> str:
        total, *whole = self._totals()
        return _text.notebook(total, *rows_of(self.leaves), notes=whole)

    def _totals(self) -> list[str]:
        """The lines below the table."""
        count = sum(math.prod(leaf.shape) for leaf in self.leaves)
        total = (
            f"{_text.counted(len(self.leaves), 'leaf', 'leaves')}, {count:,} elements, "
            f"{_text.size(self.nbytes)}, "
            f"{_text.counted(len(self.executables), 'executable')}"
        )
        return [total, *([f"runs whole: {self.whole}"] if self.whole else [])]

    def table(self, full: bool = False) -> str:
        """The arrays as a table; equal arrays of repeated layers are one row, unless ``full``.

        In such a row the numbers in which the paths differ are written as ``*``.

        Args:
          full: a row for each array.

        Returns:
          The table as text.

        Example:
          >>> import jax
          >>> print(plan(lambda: [{"bias": jax.numpy.zeros(4)} for _ in range(3)]).table())
          path    count  shape  dtype    bytes each  group
          ------  -----  -----  -------  ----------  -----
          */bias  3      4      float32  16 B        0
        """
        return _text.table(*rows_of(self.leaves, full))

    def memory(self, shardings: OutShardings = None) -> dict[Any, int]:
        """The bytes that each device would hold.

        Args:
          shardings: what ``materialize`` takes as ``out_shardings``. The mesh may be an
            ``AbstractMesh``, so a laptop can plan for devices that it does not have.

        Returns:
          Device -> bytes. The devices of an abstract mesh are numbered from 0.

        Raises:
          ValueError, TypeError: as ``materialize`` does for ``out_shardings``.

        Example:
          >>> import jax
          >>> plan(lambda: jax.numpy.zeros((8, 4))).memory().values()
          dict_values([128])
        """
        by_sharding: dict[Any, int] = {}
        resolved = self._shardings("Plan.memory", shardings)
        for leaf, sharding in zip(self.leaves, resolved, strict=True):
            held = leaf.nbytes
            if sharding is not None and leaf.shape:
                part = math.prod(sharding.shard_shape(leaf.shape))
                held = part * (leaf.nbytes // max(math.prod(leaf.shape), 1))
            by_sharding[sharding] = by_sharding.get(sharding, 0) + held
        total: dict[Any, int] = {}
        for sharding, held in by_sharding.items():
            for device in devices(sharding):
                total[device] = total.get(device, 0) + held
        return total

    def shardings(self, mesh: Mesh | AbstractMesh, rules: AxisRules = ()) -> Tree:
        """Where each array goes on a mesh, by the names that its model gives to its axes.

        The names are the metadata that ``flax.linen.with_partitioning``,
        ``with_logical_partitioning`` and ``flax.nnx.with_partitioning`` attach. An array without
        names is replicated.

        Args:
          mesh: the mesh; an ``AbstractMesh`` serves for ``memory``.
          rules: pairs of an axis name and the mesh axis (several, or None) that divides it, as
            Flax's logical axis rules. The first that fits counts: no array uses a mesh axis twice.
            A name that is a mesh axis itself needs no rule.

        Returns:
          The tree of the plan with a NamedSharding for each array, as ``materialize`` and
          ``memory`` take it.

        Raises:
          ValueError: a name that has no rule and is no mesh axis, or a rule that names an axis
            which the mesh does not have.

        Example:
          >>> import jax
          >>> import flax.linen as nn
          >>> named = nn.with_partitioning(nn.initializers.lecun_normal(), ("embed", "mlp"))
          >>> model = nn.Dense(8, kernel_init=named, use_bias=False)
          >>> planned = plan(model.init, jax.random.key(0), jax.numpy.ones((1, 4)))
          >>> mesh = jax.sharding.AbstractMesh((2,), ("model",))
          >>> where = planned.shardings(mesh, [("mlp", "model"), ("embed", None)])
          >>> tuple(where["params"]["kernel"].unbox().spec)
          (None, 'model')
        """
        return self._shardings_of("Plan.shardings", mesh, rules)

    def _shardings_of(self, call: str, mesh: Mesh | AbstractMesh, rules: AxisRules) -> Tree:
        skeleton = self._recording.skeleton
        boxed = skeleton.filled(range(len(self.leaves)))
        check_rules(call, mesh, rules)
        found = skeleton.select(axis_names(boxed))
        return skeleton.filled(
            named_sharding(f"{call}: {leaf.path!r}", names, mesh, rules)
            for leaf, names in zip(self.leaves, found, strict=True)
        )

    def materialize(self, out_shardings: OutShardings = None, progress: bool = False) -> Tree:
        """Makes the tree, one array after another, each directly in its sharding.

        The values are those of ``jax.jit(init_fn)(*args)``, bit for bit, on the same device with
        the same versions. Where two arrays depend on one sum of floats, as all state does that a
        forward pass computes, the function runs whole so that this holds (see ``whole``). A sum
        that a single array depends on is compiled with that array alone, and its last bit may
        differ. A matrix of jaxinit's ``orthogonal`` that ``out_shardings`` divides has the bits
        that the initializer gives when it is told this sharding as ``out_sharding``.

        Args:
          out_shardings: a tree of shardings (or PartitionSpecs under ``jax.set_mesh``), a prefix of
            one, one sharding for all, or a function of (path, shape) that returns one.
          progress: whether to show a progress bar.

        Returns:
          The tree that the init function returns.

        Raises:
          ValueError: an array depends on an argument that was given as a ShapeDtypeStruct, or a
            sharding does not fit its array.
          TypeError: ``out_shardings`` holds something that is not a sharding.

        Example:
          >>> import jax
          >>> planned = plan(lambda key: jax.random.normal(key, (8, 4)), jax.random.key(0))
          >>> planned.materialize().shape
          (8, 4)
        """
        return self._materialize("Plan.materialize", out_shardings, progress)

    def _materialize(self, call: str, out_shardings: OutShardings, progress: bool) -> Tree:
        shardings = self._shardings(call, out_shardings)
        check_real(call, self.leaves, shardings)
        maker = Maker(self._recording, call)
        if self.whole:
            return self._recording.skeleton.restored(maker.whole(shardings))
        made: list[Any] = []
        bar = _text.bar(progress, "making", self.nbytes)
        with maker.compiling(shardings), bar as advance:
            for i, (leaf, sharding) in enumerate(zip(self.leaves, shardings, strict=True)):
                made.append(maker.leaf(i, sharding))
                if progress:
                    made[-1].block_until_ready()
                advance(leaf.nbytes, leaf.path)
        return self._recording.skeleton.restored(made)

    def save(
        self, path: str | os.PathLike[str], format: FormatName = "orbax", progress: bool = False
    ) -> None:
        """Makes the tree and writes it as a checkpoint, without ever holding all of it.

        It is made array by array, and an array over 128 MiB in pieces, with less than 512 MB in
        memory at a time. If a save is interrupted, the same call resumes it and gives the same
        bytes. It first compares what is on disk with checksums, and makes pieces that were damaged
        again, with a warning. If the checkpoint is complete already, it is compared in the same way
        and nothing is written. Under ``jax.distributed`` each process makes and writes its own
        share, without exchanging values; if one fails, the others stop too.

        Args:
          path: the folder to make, on a mounted filesystem. Until it is complete, the checkpoint
            grows in ``path`` + ".partial".
          format: "orbax", read by orbax's own readers; or "safetensors", which writes
            ``model.safetensors``, or shards of 5 GB with an index, under names joined by dots.
            Random keys are stored as their data. ``jaxinit.json`` in the folder describes the
            checkpoint.
          progress: whether to show a progress bar.

        Raises:
          ValueError: the format is unknown or cannot hold a dtype or a name, several arrays have
            the same name, the interrupted save at ``path`` is of another plan, the complete
            checkpoint there is damaged, ``path`` is a URL, or an argument has no values.
          FileExistsError: something else is at ``path``; it is left as it is.
          OSError: the disk has no room or cannot be written, and what is there is kept; or the
            system has no file locks (Windows).
          RuntimeError: another process failed.

        Example:
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
        """The sharding of each array."""
        is_leaf = jax.tree_util.all_leaves([given])  # a tree may be a callable model
        # A Mesh can be called too, as a decorator.
        if callable(given) and is_leaf and not isinstance(given, Mesh):
            found = [given(leaf.path, leaf.shape) for leaf in self.leaves]
        else:
            found = self._prefix(call, given)
        return [checked(call, leaf, s) for leaf, s in zip(self.leaves, found, strict=True)]

    def _prefix(self, call: str, given: OutShardings) -> list[LeafSharding]:
        if given is None or isinstance(given, Sharding | PartitionSpec):
            return [given] * len(self.leaves)
        skeleton = self._recording.skeleton
        tree = skeleton.filled(range(len(self.leaves)))
        try:
            spread = jax.tree.broadcast(given, tree, is_leaf=is_sharding)
        except ValueError as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise ValueError(
                f"{call}: out_shardings must be the tree, a prefix of it, one sharding, or a "
                f"function of (path, shape); got {kind(given)} that does not fit "
                f"({reason}). Start from jax.eval_shape of the init function."
            ) from None
        flat = jax.tree.leaves(spread, is_leaf=is_sharding)
        return list(skeleton.select(flat))


def plan(init_fn: Callable[..., Tree] | HasInit, *args: Any, **kwargs: Any) -> Plan:
    """Plans ``init_fn(*args, **kwargs)``: traces it, without allocating any array.

    Args:
      init_fn: any function that returns a tree of arrays, such as ``model.init``; or a model that
        has one (a module of flax.linen, a transformed function of Haiku). The tree may also hold
        other things (functions, strings, Python numbers), which come back as they are.
      *args: its arguments. Arrays and ShapeDtypeStructs are traced; everything else (bool, int,
        str, None, a function) is static.
      **kwargs: its keyword arguments, likewise.

    Returns:
      A ``Plan``: print it, or call its ``materialize``, ``save`` or ``memory``.

    Raises:
      TypeError: ``init_fn`` is neither a function nor a model with one.

    Example:
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
    return plan_as("plan", init_fn, args, kwargs)


def materialize(
    init_fn: Callable[..., Tree] | HasInit,
    *args: Any,
    out_shardings: OutShardings = None,
    progress: bool = False,
    **kwargs: Any,
) -> Tree:
    """Computes ``init_fn(*args, **kwargs)`` array by array, with the bits of ``jax.jit(init_fn)``.

    One program is compiled for each distinct kind of array, not for each array. To look at the plan
    first, call ``plan``; on what condition the bits are those of jit, see ``Plan.materialize``.

    Args:
      init_fn: any function that returns a tree of arrays, such as ``model.init``, or the model.
      *args: its arguments; see ``plan``.
      out_shardings: where the arrays go; see ``Plan.materialize``.
      progress: whether to show a progress bar.
      **kwargs: its keyword arguments.

    Returns:
      The tree that ``init_fn`` returns.

    Raises:
      TypeError: ``init_fn`` is neither a function nor a model with one, or ``out_shardings`` holds
        something that is not a sharding.
      ValueError: an argument has no values, or a sharding does not fit its array.

    Example:
      >>> import jax
      >>> init = jax.nn.initializers.he_normal()
      >>> materialize(lambda key: init(key, (8, 4)), jax.random.key(0)).shape
      (8, 4)
    """
    planned = plan_as("materialize", init_fn, args, kwargs)
    return planned._materialize("materialize", out_shardings, progress)


def plan_as(call: str, init_fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Plan:
    """``plan(init_fn, *args, **kwargs)``, whose errors name ``call``."""
    return Plan(record(call, init_function(call, init_fn), args, kwargs))
