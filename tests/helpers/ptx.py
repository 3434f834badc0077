"""A program for an NVIDIA GPU, run by NumPy: instruction by instruction, all threads at once.

It knows what XLA writes for elementwise kernels, each operation rounded as PTX defines it (NVIDIA,
"Parallel Thread Execution ISA"), and raises at anything else: at a fused multiply-add, for one. An
approximation is made more wrong than PTX allows, at random.
"""

import math
import operator
import re

import ml_dtypes
import numpy as np

TYPES = {
    "pred": np.bool_, "b8": np.uint8, "b16": np.uint16, "u16": np.uint16, "s16": np.int16,
    "b32": np.uint32, "u32": np.uint32, "s32": np.int32, "f32": np.float32,
    "b64": np.uint64, "u64": np.uint64, "s64": np.int64, "f64": np.float64,
    "f16": np.float16, "bf16": ml_dtypes.bfloat16,
}  # fmt: skip
HLO_TYPES = {
    "pred": np.uint8, "s32": np.int32, "u32": np.uint32, "u64": np.uint64, "f16": np.float16,
    "bf16": ml_dtypes.bfloat16, "f32": np.float32, "f64": np.float64, "c64": np.complex64,
    "c128": np.complex128, "f8e4m3fn": ml_dtypes.float8_e4m3fn, "f8e5m2": ml_dtypes.float8_e5m2,
}  # fmt: skip
PAIRED = {
    "bf16x2": ml_dtypes.bfloat16, "f16x2": np.float16, "e4m3x2": ml_dtypes.float8_e4m3fn,
    "e5m2x2": ml_dtypes.float8_e5m2,
}  # fmt: skip
RSQRT_ERROR = 2**-22  # relative; PTX promises 2^-22.9
_RANDOM = np.random.default_rng(0)


def _rsqrt(x):
    wrong = 1 + _RANDOM.uniform(-RSQRT_ERROR, RSQRT_ERROR, x.shape)
    return (wrong / np.sqrt(x.astype(np.float64))).astype(np.float32)


def _product(x, y):
    """All bits of a product of integers."""
    twice = f"{x.dtype.kind}{2 * x.dtype.itemsize}"
    return x.astype(twice) * y.astype(twice)


def _shift(direction):
    return lambda x, by: direction(x, by.astype(x.dtype))


def _rotate(x, y, by):
    """shf of two words; XLA has them equal."""
    return (y << by) | (x >> (np.uint32(32) - by))


def _field(x, start, length):
    """bfe of a signed integer: some of its bits, the first of which is their sign."""
    end = x.dtype.type(8 * x.itemsize)
    return (x << (end - start - length)) >> (end - length)


def _permute(x, y, chosen):
    """prmt: four bytes of two words."""
    both = x.astype(np.uint64) | (y.astype(np.uint64) << np.uint64(32))
    total, (digits,) = np.zeros_like(x), np.unique(chosen)
    for k in range(4):
        digit = int(digits) >> 4 * k & 15
        assert digit < 8  # above, a sign would be repeated
        byte = (both >> np.uint64(8 * digit)) & np.uint64(255)
        total |= byte.astype(np.uint32) << np.uint32(8 * k)
    return total


_INTEGER = {
    "add": operator.add, "sub": operator.sub, "mul.lo": operator.mul, "neg": operator.neg,
    "mad.lo": lambda x, y, z: x * y + z,
}  # fmt: skip
_LOGIC = {"and": operator.and_, "or": operator.or_, "xor": operator.xor, "not": operator.invert}
_FLOAT = {
    "add.rn": operator.add, "sub.rn": operator.sub, "mul.rn": operator.mul, "neg": operator.neg,
    "sqrt.rn": np.sqrt, "abs": np.abs, "min": np.fmin, "max": np.fmax,
    "min.NaN": np.minimum, "max.NaN": np.maximum,
}  # fmt: skip
_COMPARE = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le,
    "gt": operator.gt, "ge": operator.ge,
}  # fmt: skip

# What an instruction does with its sources, which are read as of its type.
OPERATIONS = {
    **{f"{n}.{s}{b}": f for n, f in _INTEGER.items() for s in "su" for b in (16, 32, 64)},
    **{f"{n}.{t}": f for n, f in _LOGIC.items() for t in ("pred", "b16", "b32", "b64")},
    **{f"{n}.{t}": f for n, f in _FLOAT.items() for t in ("f32", "f64")},
    **{f"setp.{n}.{t}": f for n, f in _COMPARE.items() for t in TYPES},
    **{f"setp.ne.{t}": lambda x, y: (x < y) | (x > y) for t in ("f32", "f64")},  # false of a NaN
    **{
        f"setp.{n}u.{t}": lambda x, y, f=f: f(x, y) | np.isnan(x) | np.isnan(y)
        for n, f in _COMPARE.items()
        for t in ("f32", "f64")
    },
    **{f"mul.wide.{t}": _product for t in ("s16", "u16", "s32", "u32")},
    **{
        f"mul.hi.{s}{b}": lambda x, y: (_product(x, y) >> 8 * x.itemsize).astype(x.dtype)
        for s in "su"
        for b in (16, 32)
    },
    **{f"shl.b{b}": _shift(operator.lshift) for b in (16, 32, 64)},
    **{f"shr.{s}{b}": _shift(operator.rshift) for s in "usb" for b in (16, 32, 64)},
    **{f"{n}.{t}": lambda x: x for n in ("mov", "cvta.to.global") for t in TYPES},
    "shf.l.wrap.b32": _rotate,
    "prmt.b32": _permute,
    **{f"bfe.s{b}": _field for b in (32, 64)},
    **{f"setp.nan.{t}": lambda x, y: np.isnan(x) | np.isnan(y) for t in ("f32", "f64")},
    "rsqrt.approx.f32": _rsqrt,
}


class Threads:
    """The registers of all threads of one kernel, and the memory that they share."""

    def __init__(self, count, per_block, memory):
        index = np.arange(count, dtype=np.uint32)
        self.count, self.memory = count, memory
        self.written = set()
        self.registers = {
            "%ctaid.x": index // np.uint32(per_block),
            "%tid.x": index % np.uint32(per_block),
        }

    def read(self, token, dtype):
        """A register, or a constant, as values of the type."""
        if token in self.registers:
            return self.registers[token].view(dtype)
        size = np.dtype(dtype).itemsize
        raw = int(token[2:], 16) if token[:2] in ("0f", "0d") else int(token.rstrip("U"), 0)
        return np.full(self.count, raw % 2 ** (8 * size), f"u{size}").view(dtype)

    def step(self, opcode, target, *sources):
        """One instruction."""
        name, _, kind = opcode.rpartition(".")
        if name.startswith(("ld.global", "st.global")):
            (self.load if name[0] == "l" else self.store)(target, sources[0], TYPES[kind])
        elif name == "selp":
            one, other = (self.read(token, TYPES[kind]) for token in sources[:2])
            self.registers[target] = np.where(self.read(sources[2], np.bool_), one, other)
        elif name.count(".") == 2 and name.startswith("setp."):  # a comparison and a predicate
            setp, compare, combine = name.split(".")
            values = [self.read(token, TYPES[kind]) for token in sources[:2]]
            found = OPERATIONS[f"{setp}.{compare}.{kind}"](*values)
            self.registers[target] = _LOGIC[combine](found, self.read(sources[2], np.bool_))
        elif name.startswith("cvt."):
            values = [self.read(token, TYPES[kind]) for token in sources]
            self.registers[target] = _converted(name.split(".")[1:], values)
        else:
            types = [TYPES[kind]] * len(sources)
            if name in ("shl", "shr"):
                types[1] = np.uint32
            values = [self.read(*pair) for pair in zip(sources, types, strict=True)]
            self.registers[target] = OPERATIONS[opcode](*values)

    def places(self, token, size, k):
        """The buffer and the bytes of the k-th value at ``[%rd1+8]``."""
        register, _, offset = token.strip("[]").partition("+")
        pointer = self.registers[register].view(np.uint64) + np.uint64(int(offset or 0) + size * k)
        (buffer,) = np.unique(pointer >> np.uint64(48))
        first = (pointer & np.uint64(2**48 - 1)).astype(np.int64)
        return int(buffer), first[:, None] + np.arange(size)

    def load(self, targets, source, dtype):
        """One value, or some that lie side by side."""
        for k, target in enumerate(_listed(targets)):
            buffer, places = self.places(source, dtype().itemsize, k)
            value = self.memory[buffer][places].view(dtype)[:, 0]
            width = {"%rs": 2, "%rd": 8}.get(target[:3], 4)
            self.registers[target] = value.astype(f"u{width}") if value.itemsize < width else value

    def store(self, target, sources, dtype):
        """Likewise; of a wider register its lower bytes."""
        for k, source in enumerate(_listed(sources)):
            buffer, places = self.places(target, dtype().itemsize, k)
            held = self.registers.get(source)
            held = self.read(source, dtype) if held is None else np.ascontiguousarray(held)
            raw = held.view(np.uint8).reshape(self.count, -1)
            self.memory[buffer][places] = raw[:, : dtype().itemsize]
            self.written.add(buffer)


def _listed(token):
    return [x.strip() for x in token.strip("{}").split(",")]


def _converted(modifiers, values):
    """cvt, to nearest; of two values the first goes to the upper half."""
    to = modifiers[-1]
    assert set(modifiers[:-1]) <= {"rn", "satfinite"}, modifiers
    if to not in PAIRED:
        return values[0].astype(TYPES[to])
    if "satfinite" in modifiers:
        limit = np.float32(ml_dtypes.finfo(PAIRED[to]).max)
        values = [np.clip(v, -limit, limit) for v in values]
    low, high = (v.astype(PAIRED[to]) for v in reversed(values))
    bits, unsigned = 8 * low.itemsize, f"u{low.itemsize}"
    wide = np.dtype(f"u{2 * low.itemsize}")
    return (high.view(unsigned).astype(wide) << wide.type(bits)) | low.view(unsigned)


def run(kernel, inputs, outputs):
    """Run a kernel on byte arrays, one a parameter; the outputs, which may be inputs written over.

    Of an output that takes the place of an input the kernel knows only the input.
    """
    text, buffers = kernel.ptx, [*inputs, *outputs]
    parameters = re.findall(r"\.param \.u64[^,)]* (\w+_param_\d+)", text)
    assert len(parameters) == len(buffers), (parameters, len(buffers))
    per_block = int(re.search(r"\.reqntid (\d+)", text)[1])
    threads = Threads(kernel.threads, per_block, buffers)
    with np.errstate(all="ignore"):
        for line in text[text.index(".reqntid") :].splitlines()[1:]:
            if not line.strip() or re.match(r"[{}]|\s*\.reg |//", line):
                continue
            line = line.strip().removesuffix(";")
            opcode, _, rest = line.partition(" ")
            operands = [x.strip() for x in re.split(r",(?![^{]*\})", rest)]
            if opcode.startswith("ld.param"):
                place = parameters.index(operands[1].strip("[]")) << 48
                threads.registers[operands[0]] = np.full(kernel.threads, place, np.uint64)
            elif opcode not in ("ret", "griddepcontrol.wait"):
                threads.step(opcode, *operands)
    shapes = {register.shape for register in threads.registers.values()}
    assert shapes == {(kernel.threads,)}
    over = iter(sorted(n for n in threads.written if n < len(inputs)))
    places = range(len(inputs), len(buffers))
    return [buffers[n if n in threads.written else next(over)] for n in places]


def execute(program, *arguments):
    """The entry computation of a compiled program, on NumPy arrays; its result, an array."""
    values = {}
    for line in program.hlo[program.hlo.index("\nENTRY") :].splitlines()[2:]:
        found = re.match(r"\s+(ROOT )?%(\S+) = (\(.*?\)|\S+) ([\w-]+)\((.*?)\)", line)
        root, name, kind, opcode, inside = found.groups()
        operands = [values[x] for x in re.findall(r"%([\w.-]+)", inside)]
        if opcode == "parameter":
            values[name] = np.ascontiguousarray(arguments[int(inside)])
        elif opcode == "get-tuple-element":
            values[name] = operands[0][int(re.search(r"index=(\d+)", line)[1])]
        elif opcode == "bitcast":
            values[name] = _as(operands[0], kind)
        else:
            assert opcode == "fusion", opcode
            kinds = re.findall(r"\w+\[[\d,]*\]", kind)
            shapes = map(_shaped, kinds)
            made = [np.full(math.prod(n) * t.itemsize, 0xA5, np.uint8) for t, n in shapes]
            inputs = [x.reshape(-1).view(np.uint8) for x in operands]
            first = name.partition(".")[0]  # fusions that are alike share a kernel
            kernel = program.kernels.get(name.replace(".", "_")) or program.kernels[first]
            results = run(kernel, inputs, made)
            arrays = [_as(x, k) for x, k in zip(results, kinds, strict=True)]
            values[name] = arrays if kind.startswith("(") else arrays[0]
        if root:
            return values[name]
    raise AssertionError("no result")


def _as(x, kind):
    """The bytes of x as HLO's type."""
    dtype, shape = _shaped(kind)
    return x.reshape(-1).view(dtype).reshape(shape)


def _shaped(kind):
    """HLO's ``f32[2,3]`` as (dtype, shape)."""
    name, sizes = re.match(r"(\w+)\[([\d,]*)\]", kind).groups()
    return np.dtype(HLO_TYPES[name]), [int(n) for n in sizes.split(",") if n]
