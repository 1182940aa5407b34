"""Writes seeds/<target>/: small inputs of every shape, from which the fuzz targets start."""

import pathlib
import struct

FOLDER = pathlib.Path(__file__).parent / "seeds"
PLANS = ["f16", "mikv:keep=0.3", "q4_0-rot", "kivi2", "h2o:keep=0.2",
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


def chunks():
    """Chunks of 3 layers of 16 values, not predicted: rows in order, with gaps, a mean. No sums:
    the target puts them right."""
    row = 2 * (8 + 2) + 2 * 2 * (4 + 2)  # layer 0 at 4 bits, the others at 2, f16 scales

    def chunk(rows, distances, flags, means):
        gaps = struct.calcsize(distances[0]) // rows if distances else 0
        head = struct.pack("<IIIIiIQ", 0x3143564B, rows, 3, 16, 5, gaps, 0)
        positions = struct.pack(*distances) if distances else b""
        codes = b"\x11\x3c" * (rows * row // 2)
        return head + positions + bytes([flags]) + bytes(32 * means) + codes

    return [chunk(1, None, 0, 0), chunk(3, ("<3H", 0, 2, 9), 0, 0),
            chunk(2, ("<2I", 0, 70000), 4, 1)]


def calibrations():
    """Files for 2 layers of one kv_head of 8 values. No sums: the target puts them right."""
    quantizer = "low=chunk:k=p4n256,v=p4n256,first=p2n256,scale=least_squares"

    def calibration(predictor, maps):
        plan = f"predictor={predictor};{quantizer}".encode()
        key = struct.pack("<QI", 1, len(plan)) + plan + struct.pack("<iiiq", 2, 1, 8, 100)
        return b"KVCAL001" + key + struct.pack("<8f", *[0.5] * 8) + b"\x11" * maps + bytes(8)

    bias, block = 16, 64 * 4 // 8
    linear = bias + 16 + block  # with a scale for each of 8 outputs
    return [calibration("mean", 4 * bias),
            calibration("cross_layer:form=full,rank=0,bits=4", bias + 3 * linear + block),
            calibration("v_from_k:form=full,rank=2,bits=8", 2 * bias + 2 * (bias + 32 + 4 + 16))]


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
