"""Writes quant_types.txt: random blocks of each tensor type and their values by the gguf package.

One line a type: name, bytes in hex, float32 bit patterns in hex. Scales are finite and small, all
other bits are random.
"""

import pathlib

import gguf
import numpy as np

# Bytes of a block, blocks written, offsets of its f16 scales.
TYPES = {
    "Q8_0": (34, 4, [0]), "Q4_0": (18, 4, [0]), "Q4_1": (20, 4, [0, 2]),
    "Q4_K": (144, 2, [0, 2]), "Q5_K": (176, 2, [0, 2]), "Q6_K": (210, 2, [208]),
    "F16": (2, 16, [0]), "BF16": (2, 0, []),
}


def random_blocks(rng, size, count, scales):
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at in scales:
        values = rng.normal(0, 0.1, (count, 1)).astype(np.float16)
        blocks[:, at:at + 2] = values.view(np.uint8)
    return blocks


def main():
    rng = np.random.default_rng(1)
    lines = []
    for name, (size, count, scales) in TYPES.items():
        if name == "BF16":
            words = rng.normal(0, 1, 16).astype(np.float32).view(np.uint32) >> 16
            blocks = words.astype(np.uint16).view(np.uint8).reshape(1, -1)
        else:
            blocks = random_blocks(rng, size, count, scales).reshape(1, -1)
        kind = gguf.GGMLQuantizationType[name]
        if name == "F16":
            values = blocks.view(np.float16).astype(np.float32)
        else:
            values = gguf.quants.dequantize(blocks, kind)
        bits = values.astype(np.float32).ravel().view(np.uint32)
        lines.append(f"{name.lower()} {blocks.tobytes().hex()} {''.join(f'{b:08x}' for b in bits)}")
    path = pathlib.Path(__file__).parent / "quant_types.txt"
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
