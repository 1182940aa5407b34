"""Writes seeds/<target>/: small inputs of every shape, from which the fuzz targets start."""

import pathlib
import struct

FOLDER = pathlib.Path(__file__).parent / "seeds"
PLANS = ["f16", "mikv:keep=0.3,length=1", "q4_0-rot", "kivi2", "h2o:keep=0.2",
         "kvcrush:base=snapkv,share=0.25",
         "scorer=h2o;budget=uniform:keep=0.2,recent=0.5;high=f16;low=rtn:k=u2,v=u2;transform=none"]
SAMPLES = ['{"context": "a", "input": "b", "answers": ["c"], "dataset": "d"}',
           '{"input": "a\\nb", "outputs": ["c"], "answer_prefix": "d"}\n\n{}\n']
TEXTS = ["it's 12345 WE'LL  \n\n x", "\u4f60\u597d \U0001F600\u00a0caf\u00e9", "aaaa the th\u2581"]
# Tokens after their type byte (1 normal, 3 control, 4 user, 6 byte), an empty line, merges.
VOCABULARY = "laa\nla\nlb\ndab\nc<s>\n\na a\na b\nab<s>"
# Type number, bytes of a block, values of a block.
TENSORS = [(0, 4, 1), (1, 2, 1), (2, 18, 32), (3, 20, 32), (8, 34, 32), (12, 144, 256),
           (13, 176, 256), (14, 210, 256), (30, 2, 1)]
U32, F32, TEXT, ARRAY = 4, 6, 8, 9


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def key(name, kind, value):
    return text(name) + struct.pack("<I", kind) + value


def array(kind, values):
    return struct.pack("<IQ", kind, len(values)) + b"".join(values)


def metadata():
    numbers = {"block_count": 1, "context_length": 64, "embedding_length": 16,
               "feed_forward_length": 16, "attention.head_count": 2, "attention.head_count_kv": 1,
               "attention.key_length": 8, "attention.value_length": 8, "vocab_size": 4}
    tokens = array(TEXT, [text(token) for token in ("a", "b", "ab", "<s>")])
    scores = array(F32, [struct.pack("<f", -i) for i in range(4)])
    types = array(U32, [struct.pack("<I", kind) for kind in (1, 1, 1, 3)])
    keys = [key("general.architecture", TEXT, text("llama")),
            key("general.alignment", U32, struct.pack("<I", 32)),
            key("llama.attention.layer_norm_rms_epsilon", F32, struct.pack("<f", 1e-5)),
            key("tokenizer.ggml.model", TEXT, text("gpt2")),
            key("tokenizer.ggml.pre", TEXT, text("gpt-2")),
            key("tokenizer.ggml.tokens", ARRAY, tokens),
            key("tokenizer.ggml.merges", ARRAY, array(TEXT, [text("a b")])),
            key("tokenizer.ggml.scores", ARRAY, scores),
            key("tokenizer.ggml.token_type", ARRAY, types)]
    return keys + [key("llama." + name, U32, struct.pack("<I", n)) for name, n in numbers.items()]


def model():
    keys, table, data = metadata(), b"", b""
    for kind, size, values in TENSORS:
        table += text(f"t{kind}") + struct.pack("<IQQIQ", 2, values, 2, kind, len(data))
        data += bytes(2 * size) + bytes(-2 * size % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(TENSORS), len(keys)) + b"".join(keys) + table
    return head + bytes(-len(head) % 32) + data


def predictions():
    """A reference of task kld: one window of one token, 3 with e^-0.7, the rest 0.5."""
    key = struct.pack("<QQiiii", 1, 2, 128, 32, 0, 16)
    window = struct.pack("<QIdif", 1, 1, 0.5, 3, -0.7)
    return b"KVKLD001" + key + struct.pack("<Q", 1) + window + bytes(8)


def row_bytes(grid):
    """A row of 16 values on a grid of n points for p values, with its f16 scale."""
    p, n = grid
    return 16 // p * (n.bit_length() - 1) // 8 + 2


def side_bytes(rows, grid, index=0, representatives=None):
    """Codes of a side; with bits of an index, those of a quarter of the rows stand apart."""
    r = min(2**index - 1, rows // 4)
    references = 2 * r + ((rows * index + 7) // 8 if r else 0)
    return references + r * row_bytes(representatives or grid) + (rows - r) * row_bytes(grid)


# As in chunk_fuzz.cc: grids of keys, values and layer 0, bits of an index and the grid of
# representatives, bytes of a token's number.
FINEST = (2, 256)
FORMS = [((4, 256), (4, 256), FINEST, 0, None, 0), ((4, 256), (4, 256), FINEST, 3, FINEST, 0),
         ((4, 256), (4, 256), None, 0, None, 2), ((4, 256), (4, 256), None, 8, (1, 16), 4),
         ((1, 2), (1, 8), (2, 64), 0, None, 0), ((4, 256), None, FINEST, 0, None, 0),
         ((4, 64), (4, 256), FINEST, 3, None, 0), ((4, 256), (4, 256), FINEST, 0, None, 0)]


def chunks():
    """The number of a form and a chunk of 3 layers of 16 values: rows in order, with gaps, a mean,
    fine. No sums: the target puts them right."""

    def chunk(form, rows, distances=None, flags=0, fine=False):
        key, value, first, index, representatives, token = FORMS[form]
        gaps = struct.calcsize(distances[0]) // rows if distances else 0
        head = struct.pack("<IIIIiIQ", 0x3146564B if fine else 0x3143564B, rows, 3, 16, 5, gaps, 0)
        positions = struct.pack(*distances) if distances else b""
        grids = [first, first] + 2 * [key, value]
        codes = sum(side_bytes(rows, FINEST, index) if fine
                    else side_bytes(rows, grid, index, representatives) for grid in grids if grid)
        tokens = b"\x2a\0\0\0"[:token] * rows
        means = bytes(32 * flags.bit_count())
        return (bytes([form]) + head + positions + tokens + bytes([flags]) + means
                + (b"\x11\x3c" * codes)[:codes])

    return [chunk(0, 1), chunk(0, 3, ("<3H", 0, 2, 9)), chunk(0, 2, ("<2I", 0, 70000), 4),
            *[chunk(form, 9) for form in range(1, len(FORMS))], chunk(1, 9, flags=3, fine=True),
            chunk(3, 13, ("<13H", *range(0, 39, 3)), fine=True), chunk(4, 2, fine=True),
            chunk(5, 2, flags=32, fine=True), chunk(6, 8, flags=63)]


def calibrations():
    """Files for 2 layers of 2 kv_heads of 8 values. No sums: the target puts them right."""
    quantizer = "low=chunk:k=p4n256,v=p4n256,first=p2n256,scale=least_squares"

    def calibration(predictor, sizes):
        plan = f"predictor={predictor};{quantizer}".encode()
        key = struct.pack("<QI", 1, len(plan)) + plan + struct.pack("<iiiq", 2, 2, 8, 100)
        return b"KVCAL001" + key + struct.pack("<8f", *[0.5] * 8) + b"\x11" * sum(sizes) + bytes(8)

    bias = 2 * 16

    def full(bits, inputs, outputs=16, blocks=1):  # f16 scales for each of the outputs
        scales = 2 * outputs if bits < 16 else 0
        return bias + blocks * (inputs * outputs * bits // 8 + scales)

    def low_rank(bits, inputs, rank):
        return full(bits, inputs, rank) - bias + full(bits, rank)

    def layers(of):  # maps of cross_layer: from one source at most, and from two
        return [bias, of(16), of(16), of(32)]

    forms = {"mean": 4 * [bias], "crush:base=none,index=3,gain=0.65,grid=p2n256": [],
             "crush:base=mean,index=8,gain=1,grid=same": 4 * [bias],
             "crush:base=cross_layer,index=1,gain=0,grid=p1n16": layers(lambda n: full(8, n)),
             "cross_layer:form=full,rank=0,bits=4": layers(lambda n: full(4, n)),
             "cross_layer:form=per_head,rank=0,bits=16": layers(lambda n: full(16, n // 2, 8, 2)),
             "cross_layer:form=full,rank=3,bits=16": layers(lambda n: low_rank(16, n, 3)),
             "v_from_k:form=full,rank=2,bits=8": 2 * [bias, low_rank(8, 16, 2)],
             "v_from_k:form=per_head,rank=0,bits=4": 2 * [bias, full(4, 8, 8, 2)]}
    return [calibration(predictor, sizes) for predictor, sizes in forms.items()]


def main():
    seeds = {"gguf_fuzz": [model()], "plan_fuzz": [plan.encode() for plan in PLANS],
             "tokenizer_fuzz": [bytes([which]) + t.encode() for which in range(6) for t in TEXTS]
             + [b"\6" + VOCABULARY.encode(), b"\6g" + VOCABULARY[1:].encode()]}
    seeds["kld_fuzz"] = [predictions()]
    seeds["chunk_fuzz"] = chunks()
    seeds["calibration_fuzz"] = calibrations()
    seeds["samples_fuzz"] = [line.encode() for line in SAMPLES]
    for target, inputs in seeds.items():
        (FOLDER / target).mkdir(parents=True, exist_ok=True)
        for i, data in enumerate(inputs):
            (FOLDER / target / f"{i:02d}").write_bytes(data)


if __name__ == "__main__":
    main()
