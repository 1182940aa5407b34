"""Strings of every kind a tokenizer meets, the same for a seed here and in src/model/mixed_text.h.

mixed_text.json holds the pieces, characters and ranges both sides draw from.
"""

import json
import pathlib

MASK = (1 << 64) - 1
FOLDER = pathlib.Path(__file__).parent
PARTS = json.loads((FOLDER / "mixed_text.json").read_text(encoding="utf-8"))


def hash64(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def rotate(x, bits):
    return (x << bits | x >> (64 - bits)) & MASK


class Rng:
    """base/rng.h."""

    def __init__(self, seed):
        self.state = [hash64(seed + i) for i in range(4)]

    def below(self, n):
        s = self.state
        result = rotate(s[1] * 5 & MASK, 7) * 9 & MASK
        t = s[1] << 17 & MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotate(s[3], 45)
        return result % n


def pick(rng, items):
    return items[rng.below(len(items))]


def fragment(rng):
    kind = rng.below(10)
    if kind < 5:
        return pick(rng, PARTS["pieces"]).encode()
    if kind == 5:
        low, high = pick(rng, PARTS["ranges"])
        count = 1 + rng.below(6)
        return "".join(chr(low + rng.below(high - low + 1)) for _ in range(count)).encode()
    if kind == 6:
        space = pick(rng, PARTS["spaces"])
        return (space * (1 + rng.below(6))).encode()
    if kind == 7:
        return bytes(ord("0") + rng.below(10) for _ in range(1 + rng.below(6)))
    if kind == 8:
        start = b" " if rng.below(2) else b""
        return start + bytes(ord("a") + rng.below(26) for _ in range(1 + rng.below(10)))
    return bytes(0x80 + rng.below(0x80) for _ in range(1 + rng.below(4)))


def mixed_text(seed):
    rng = Rng(seed)
    return b"".join(fragment(rng) for _ in range(1 + rng.below(20)))


def fnv(numbers):
    """FNV-1a of the numbers as 32-bit little-endian words."""
    value = 0xCBF29CE484222325
    for number in numbers:
        for byte in number.to_bytes(4, "little"):
            value = (value ^ byte) * 0x100000001B3 & MASK
    return value
