"""The random words and the distributions in NumPy, from their specification in docs/stream.md.

This is independent of the code under test, except for the coefficients of the polynomials. They are
part of the specification, and derive_coefficients.py derives them anew.
"""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np

from jaxinit._random import coefficients as c

TAGS = (0x6A617869, 0x6A61786A)
FLOATS = {32: np.float32, 64: np.float64}
SIGNED = {32: np.int32, 64: np.int64}
UNSIGNED = {32: np.uint32, 64: np.uint64}


def threefry(key, counter):
    """Threefry-2x32, 20 rounds, written as in Salmon et al. 2011."""
    with np.errstate(over="ignore"):
        k0, k1 = np.uint32(key[0]), np.uint32(key[1])
        subkeys = [k0, k1, k0 ^ k1 ^ np.uint32(0x1BD11BDA)]
        x0, x1 = (np.asarray(word, np.uint32).copy() for word in counter)
        x0, x1 = x0 + k0, x1 + k1
        rotations = [13, 15, 26, 6, 17, 29, 16, 24]
        for step in range(20):
            x0 = x0 + x1
            r = np.uint32(rotations[step % 8])
            x1 = ((x1 << r) | (x1 >> (np.uint32(32) - r))) ^ x0
            if step % 4 == 3:
                s = step // 4 + 1
                x0 = x0 + subkeys[s % 3]
                x1 = x1 + subkeys[(s + 1) % 3] + np.uint32(s)
    return x0, x1


def stream_key(data, tag=TAGS[0]):
    """k' from the words of a key."""
    words = [np.uint32(word) for word in data]
    if len(words) % 2:
        words.append(np.uint32(0))
    state = (words[0], words[1])
    for i in range(2, len(words), 2):
        state = threefry(state, (words[i], words[i + 1]))
    return threefry(state, (np.uint32(0), np.uint32(tag)))


def words(data, index, tag=TAGS[0]):
    """The words at flat indices (any integers below 2^65)."""
    index = np.asarray(index, np.uint64)
    block = index >> np.uint64(1)
    counter = (
        (block >> np.uint64(32)).astype(np.uint32),
        (block & np.uint64(0xFFFFFFFF)).astype(np.uint32),
    )
    first, second = threefry(stream_key(data, tag), counter)
    return np.where(index & np.uint64(1), second, first)


def wide_words(data, index):
    """64-bit words: the high halves under one tag, the low halves under the other."""
    high, low = (words(data, index, tag).astype(np.uint64) for tag in TAGS)
    return (high << np.uint64(32)) | low


class Arithmetic:
    """The distributions for words of one width. Every operation is rounded, and none is fused."""

    def __init__(self, bits):
        self.bits, self.f, self.i, self.u = bits, FLOATS[bits], SIGNED[bits], UNSIGNED[bits]
        self.shift = {32: 23, 64: 52}[bits]
        self.half = {32: 0x3F3504F3, 64: 0x3FE6A09E667F3BCD}[bits]
        self.split, self.far = {32: (6.5, 22.0), 64: (6.0, 44.0)}[bits]
        self.top = self.u(1 << (bits - 1))

    def table(self, name):
        return getattr(c, f"{name}_{self.bits}")

    def poly(self, name, x):
        center, coefficients = self.table(name)
        if center:
            x = x - self.f(center)
        total = self.f(coefficients[-1])
        for a in coefficients[-2::-1]:
            total = x * total + self.f(a)
        return total

    def composed(self, name, x):
        """P(q(x)), both in Horner's form; a gap of two powers is one product with q(x)^2."""
        table = self.table(name)
        z = x + self.f(table.inner[-1])
        for a in table.inner[-2::-1]:
            z = z * x + self.f(a)
        square, below = z * z, (*table.powers[:-1][::-1],)
        total, power = self.f(table.coefficients[-1]), table.powers[-1]
        for lower, a in zip(below, table.coefficients[-2::-1], strict=True):
            total = total * (z if power - lower == 1 else square) + self.f(a)
            power = lower
        return total

    def fold(self, w):
        signed = w.view(self.i)
        return np.where(signed < 0, ~signed, signed)

    def magnitude(self, m):
        return (m.astype(self.f) + self.f(0.5)) * self.f(2.0 ** (1 - self.bits))

    def signed(self, x, w):
        return np.where(w & self.top, -x, x)

    def minus_log(self, y):
        raw = y.view(self.i)
        e = (raw - self.i(self.half)) >> self.i(self.shift)
        f = (raw - (e << self.i(self.shift))).view(self.f) - self.f(1)
        return (-e).astype(self.f) * self.f(math.log(2)) - f * self.poly("LOG", f)

    def ratio(self, level, far=False):
        root = np.sqrt(level)
        tail = self.poly("TAIL", level if self.bits == 32 else root)
        x = np.where(level < self.f(self.split), self.poly("CENTRAL", level), tail)
        return np.where(level < self.f(self.far), x, self.poly("FAR", root)) if far else x

    def log1p(self, x):
        near = x * self.poly("LOG", x)
        return np.where(x < self.f(0.4), near, -self.minus_log(x + self.f(1)))

    def series(self, x, first):
        """The sum of x^k/(k + first)!"""
        terms = {32: 8, 64: 15}[self.bits]
        total = self.f(1 / math.factorial(terms - 1 + first))
        for k in range(terms - 2, -1, -1):
            total = x * total + self.f(1 / math.factorial(k + first))
        return total

    def exp(self, x):
        high = {32: 355 / 512, 64: 0x162E42FEE / 2**33}[self.bits]
        n = np.floor(x * self.f(1 / math.log(2)) + self.f(0.5))
        r = (x - n * self.f(high)) - n * self.f(math.log(2) - high)
        return np.ldexp(self.series(r, 0), n.astype(np.int32))

    def chrono(self, w, t_max):
        return self.log1p(self.uniform(w) * self.f(t_max - 2))

    def mamba_dt_bias(self, w, low, high, floor):
        log_y = self.uniform(w) * self.f(math.log(high) - math.log(low)) + self.f(math.log(low))
        log_y = np.maximum(log_y, self.f(math.log(floor)))
        y = self.exp(log_y)
        quotient = self.series(np.minimum(y, self.f(0.5)), 1)
        rest = self.f(1) - self.exp(-np.minimum(y, self.f(80)))
        small = y < self.f(0.35)
        return np.where(small, log_y, y) - self.minus_log(np.where(small, quotient, rest))

    def uniform(self, w):
        return (w.astype(self.f) + self.f(0.5)) * self.f(2.0**-self.bits)

    def symmetric_uniform(self, w):
        return self.signed(self.magnitude(self.fold(w)), w)

    def normal(self, w):
        m = self.fold(w)
        u, rest = self.magnitude(m), self.magnitude(np.iinfo(self.i).max - m)
        level = self.minus_log(rest * (self.f(1) + u))
        return self.signed(u * self.ratio(level), w)

    def truncated(self, w, bound=2.0):
        if self.bits == 32 and bound == 2.0:
            u = self.magnitude(self.fold(w))
            return self.signed(u * self.composed("TRUNCATED", u * u), w)
        mass, outside = math.erf(bound / math.sqrt(2)), math.erfc(bound / math.sqrt(2))
        m = self.fold(w)
        u = self.magnitude(m) * self.f(mass)
        rest = self.magnitude(np.iinfo(self.i).max - m) * self.f(mass) + self.f(outside)
        x = u * self.ratio(self.minus_log(rest * (self.f(1) + u)))
        return self.signed(np.minimum(x, self.f(bound)), w)

    def truncated_between(self, w, lower, upper):
        if upper <= 0:
            return -self.truncated_between(~w, -upper, -lower)
        f = self.f
        above = [math.erfc(x / math.sqrt(2)) / 2 for x in (lower, upper, -lower)]
        scale = min(0.5, above[0]) if lower > 0 else 0.5
        rank, share = w ^ self.top, f((above[0] - above[1]) / scale)
        p = self.uniform(~rank) * share + f(above[1] / scale)
        negative = np.zeros_like(w)
        if lower < 0:
            below = self.uniform(rank) * share + f(above[2] / scale)
            negative = np.where(below < p, self.top, self.u(0))
            p = np.minimum(p, below)
        q = p * f(scale)
        y = np.minimum(p * (f(1) - q), f(1 if scale < 0.5 else 0.5))
        level = np.maximum(self.minus_log(y) + f(-math.log(4 * scale)), f(0))
        x = (f(1) - f(2) * q) * self.ratio(level, far=True)
        return np.clip(self.signed(x, negative), f(lower), f(upper))

    def rotate(self, radius, w):
        f, u, bits = self.f, self.u, self.bits
        with np.errstate(over="ignore"):
            shifted = w + u(1 << (bits - 3))
            quarter = shifted >> u(bits - 2)
            rest = ((shifted & u((1 << (bits - 2)) - 1)) - u(1 << (bits - 3))).view(self.i)
        angle = (rest.astype(f) + f(0.5)) * f(math.tau * 2.0**-bits)
        square = angle * angle
        sine, cosine = angle * self.poly("SINE", square), self.poly("COSINE", square)
        odd = (quarter & u(1)) == 1
        real, imag = np.where(odd, sine, cosine), np.where(odd, cosine, sine)
        real, imag = radius * real, radius * imag
        real = np.where((quarter == 1) | (quarter == 2), -real, real)
        return real, np.where(quarter >= 2, -imag, imag)

    def complex_uniform(self, a, b):
        return self.rotate(np.sqrt(self.uniform(a)), b)

    def complex_normal(self, a, b):
        half = self.f(math.sqrt(0.5))
        return self.normal(a) * half, self.normal(b) * half

    def complex_truncated(self, a, b, bound=2.0):
        mass, outside = -math.expm1(-(bound**2)), math.exp(-(bound**2))
        if outside >= math.sqrt(0.5):
            x = self.uniform(a) * self.f(mass)
            square = x * self.poly("LOG", -x)
        else:
            y = self.uniform(~a) * self.f(mass) + self.f(outside)
            square = np.maximum(self.minus_log(y), self.f(0))
        return self.rotate(np.minimum(np.sqrt(square), self.f(bound)), b)


def draw(data, shape, law, scale, dtype):
    """cast(law(word) * scale) for every flat index; ``law`` names a method of Arithmetic."""
    dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
    wide = dtype in (np.float64, np.complex128)
    arithmetic, read = Arithmetic(64 if wide else 32), wide_words if wide else words
    index, factor = np.arange(math.prod(shape), dtype=np.uint64), arithmetic.f(scale)
    if dtype.kind == "c":
        law = {"symmetric_uniform": "uniform"}.get(law, law)
        pair = read(data, 2 * index), read(data, 2 * index + np.uint64(1))
        real, imag = getattr(arithmetic, f"complex_{law}")(*pair)
        return (real * factor + 1j * (imag * factor)).astype(dtype).reshape(shape)
    return (getattr(arithmetic, law)(read(data, index)) * factor).astype(dtype).reshape(shape)
