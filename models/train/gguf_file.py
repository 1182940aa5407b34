"""The trainer must read and write what the engine runs, without a library that may drift from it.

GGUF version 3, little endian: header, metadata, tensor table, tensors at 32-byte boundaries. Only
what this model needs: F32 and F16 tensors, the llama architecture, a byte-level BPE tokenizer.
"""
import os
import struct

import numpy as np
import torch

from bpe import END, PAD, Tokenizer
from model import Config

ALIGN = 32
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?",
           10: "Q", 11: "q", 12: "d"}
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
TENSOR_TYPES = {0: np.dtype("<f4"), 1: np.dtype("<f2")}


class Reader:
    def __init__(self, path):
        with open(path, "rb") as f:
            self.data = f.read()
        self.at = 0

    def scalar(self, code):
        value, = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def string(self):
        size = self.scalar("Q")
        self.at += size
        return self.data[self.at - size:self.at].decode("utf-8")

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            kind, size = self.scalar("I"), self.scalar("Q")
            return [self.value(kind) for _ in range(size)]
        return self.scalar(SCALARS[kind])

    def tensor_entry(self):
        name = self.string()
        shape = [self.scalar("Q") for _ in range(self.scalar("I"))][::-1]
        return name, shape, TENSOR_TYPES[self.scalar("I")], self.scalar("Q")


def read(path):
    """(metadata, {name: float32 array}) of a GGUF file, tensors as stored."""
    r = Reader(path)
    if r.data[:4] != b"GGUF":
        raise ValueError(f"{path}: not a GGUF file")
    r.at = 4
    version, n_tensors, n_meta = r.scalar("I"), r.scalar("Q"), r.scalar("Q")
    if version != 3:
        raise ValueError(f"{path}: GGUF version {version}, expected 3")
    meta = {}
    for _ in range(n_meta):
        key = r.string()
        meta[key] = r.value(r.scalar("I"))
    table = [r.tensor_entry() for _ in range(n_tensors)]
    base = -(-r.at // ALIGN) * ALIGN
    tensors = {}
    for name, shape, dtype, offset in table:
        flat = np.frombuffer(r.data, dtype, int(np.prod(shape)), base + offset)
        tensors[name] = flat.astype(np.float32).reshape(shape)
    return meta, tensors


def pack_string(s):
    raw = s.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def pack_value(v):
    """Type code and bytes; integers become u32 (i32 in arrays), floats f32."""
    if isinstance(v, list):
        kind = STRING if isinstance(v[0], str) else I32
        body = b"".join(pack_string(x) if kind == STRING else struct.pack("<i", x) for x in v)
        return struct.pack("<IIQ", ARRAY, kind, len(v)) + body
    if isinstance(v, str):
        return struct.pack("<I", STRING) + pack_string(v)
    kind = {bool: BOOL, int: U32, float: F32}[type(v)]
    return struct.pack("<I" + SCALARS[kind], kind, v)


def write(path, meta, tensors):
    """Matrices go out as F16, vectors as F32; the file appears whole or not at all."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(meta))
    head += b"".join(pack_string(k) + pack_value(v) for k, v in meta.items())
    body = b""
    for name, t in tensors.items():
        kind = 1 if t.ndim == 2 else 0
        head += pack_string(name) + struct.pack(f"<I{t.ndim}Q", t.ndim, *reversed(t.shape))
        head += struct.pack("<IQ", kind, len(body))
        raw = t.astype(TENSOR_TYPES[kind]).tobytes()
        body += raw + b"\0" * (-len(raw) % ALIGN)
    with open(path + ".tmp", "wb") as f:
        f.write(head + b"\0" * (-len(head) % ALIGN) + body)
    os.replace(path + ".tmp", path)


def swap_rope_order(weight, head_dim, to_file):
    """Reorders the rows of each head between halves (here) and neighbours (llama.cpp)."""
    rows, columns = weight.shape
    inner = (2, head_dim // 2) if to_file else (head_dim // 2, 2)
    heads = weight.reshape(rows // head_dim, *inner, columns)
    return heads.swapaxes(1, 2).reshape(rows, columns)


def reorder(tensors, head_dim, to_file):
    turned = ("attn_q.weight", "attn_k.weight")
    return {n: swap_rope_order(t, head_dim, to_file) if n.endswith(turned) else t
            for n, t in tensors.items()}


def metadata(config, tokenizer, name):
    c, special = config, (tokenizer.end, tokenizer.pad)
    llama = {"block_count": c.layers, "context_length": c.context, "embedding_length": c.dim,
             "feed_forward_length": c.ffn, "attention.head_count": c.heads,
             "attention.head_count_kv": c.kv_heads, "attention.layer_norm_rms_epsilon": c.eps,
             "attention.key_length": c.head_dim, "attention.value_length": c.head_dim,
             "rope.dimension_count": c.head_dim, "rope.freq_base": c.theta, "vocab_size": c.vocab}
    words = {"model": "gpt2", "pre": "gpt-2", "tokens": tokenizer.tokens,
             "token_type": [3 if i in special else 1 for i in range(c.vocab)],
             "merges": tokenizer.merges, "bos_token_id": tokenizer.end,
             "eos_token_id": tokenizer.end, "padding_token_id": tokenizer.pad,
             "add_bos_token": True, "add_eos_token": False}
    return {"general.architecture": "llama", "general.type": "model", "general.name": name,
            "general.license": "apache-2.0", "general.file_type": 1, "general.alignment": ALIGN,
            **{"llama." + k: v for k, v in llama.items()},
            **{"tokenizer.ggml." + k: v for k, v in words.items()}}


def save_model(path, model, tokenizer, name):
    weights = {n: p.detach().float().cpu().numpy() for n, p in model.state_dict().items()}
    write(path, metadata(model.config, tokenizer, name),
          reorder(weights, model.config.head_dim, to_file=True))


def load_tokenizer(path):
    meta, _ = read(path)
    tokens = meta["tokenizer.ggml.tokens"]
    if tokens[-2:] != [END, PAD]:
        raise ValueError(f"{path}: expected the last tokens to be {END} and {PAD}")
    return Tokenizer(tokens, meta["tokenizer.ggml.merges"])


def load_weights(path):
    """(Config, state dict) of a file written by save_model."""
    meta, tensors = read(path)
    m = {k.removeprefix("llama."): v for k, v in meta.items()}
    c = Config(vocab=tensors["token_embd.weight"].shape[0], dim=m["embedding_length"],
               layers=m["block_count"], heads=m["attention.head_count"],
               kv_heads=m["attention.head_count_kv"], ffn=m["feed_forward_length"],
               context=m["context_length"], head_dim=m["attention.key_length"],
               theta=m["rope.freq_base"])
    state = {n: torch.from_numpy(np.ascontiguousarray(t))
             for n, t in reorder(tensors, c.head_dim, to_file=False).items()}
    return c, state
