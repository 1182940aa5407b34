#!/usr/bin/env python3
"""Reference logits for the forward pass, from Hugging Face Transformers in float32.

The engine's own tests cannot tell a wrong RoPE order from a right one: both run. So small random
models of every supported family go through a second, independent implementation, and the engine
must agree to 1e-3.

  <name>.gguf    the model, one storage type each; weights are such that storing them loses nothing
  <name>.logits  little endian int32: tokens, positions, vocab, token ids, positions; then float32
                 [positions][vocab]

Needs torch, transformers, gguf and numpy.
Usage: make_logits_golden.py [FOLDER] (default: this script's own).
"""
import math
import pathlib
import struct
import sys
import tempfile

import gguf
import numpy as np
import torch
from transformers import (AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM,
                          Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

HERE = pathlib.Path(__file__).resolve().parent
EMBEDDED = HERE.parent.parent / "models" / "kvkeep-5m-f16.gguf"
TEXT = ("It was a bright cold morning, and the whole of the little town had come down to the "
        "harbour to see the ship go out. \"She will be back by Christmas,\" said the old man, "
        "\"or she will not be back at all.\" Nobody answered him. The 24 men on deck waved their "
        "caps; a bell rang twice; then the wind took the sails, and there was nothing left to "
        "look at but the grey water and the gulls.\n\n"
        "line quick-river: REGISTER_CONTENT is <48213>\n"
        "line pale-stone: REGISTER_CONTENT is <90177>\n")
VOCAB, TOKENS, EVERY = 272, 100, 4
COMMON = dict(vocab_size=VOCAB, hidden_size=64, num_hidden_layers=2, intermediate_size=96,
              rms_norm_eps=1e-5, max_position_embeddings=512, bos_token_id=257, eos_token_id=258)
TYPES = gguf.GGMLQuantizationType


def plain(theta):
    return {"rope_type": "default", "rope_theta": theta}


def models():
    """(name, storage type, untrained model): each supported feature appears in one of them."""
    llama3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
              "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    linear = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
    yield "llama-gqa", TYPES.F16, LlamaForCausalLM(LlamaConfig(
        **COMMON, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        rope_parameters=plain(10000.0), tie_word_embeddings=False))
    yield "llama-llama3", TYPES.Q8_0, LlamaForCausalLM(LlamaConfig(
        **COMMON, num_attention_heads=2, num_key_value_heads=1, head_dim=32, rope_parameters=llama3,
        tie_word_embeddings=True))
    yield "llama-linear", TYPES.F32, LlamaForCausalLM(LlamaConfig(
        **(COMMON | dict(num_hidden_layers=1)), num_attention_heads=8, num_key_value_heads=8,
        head_dim=8, rope_parameters=linear, tie_word_embeddings=True))
    yield "qwen2", TYPES.F16, Qwen2ForCausalLM(Qwen2Config(
        **COMMON, num_attention_heads=4, num_key_value_heads=1, head_dim=16,
        rope_parameters=plain(1e6), tie_word_embeddings=True))
    yield "qwen3", TYPES.BF16, Qwen3ForCausalLM(Qwen3Config(
        **COMMON, num_attention_heads=4, num_key_value_heads=2, head_dim=24,
        rope_parameters=plain(1e6), tie_word_embeddings=True))


def storable(weight, kind):
    """The nearest weight that `kind` holds exactly; F32 must survive conversion to F16."""
    if kind in (TYPES.F16, TYPES.F32):
        return weight.astype(np.float16).astype(np.float32)
    return gguf.dequantize(gguf.quantize(weight, kind), kind)


def draw(model, kind, rng):
    """Gains above one: attention that is peaked somewhere, logits with a spread of 1 to 3."""
    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        if "norm" in name:
            value = 1 + 0.2 * rng.standard_normal(shape)
        elif name.endswith("bias"):
            value = 0.5 * rng.standard_normal(shape)
        else:
            gain = 2.0 if "embed" in name or "lm_head" in name else 1.4
            value = gain * shape[1] ** -0.5 * rng.standard_normal(shape)
        value = value.astype(np.float32)
        parameter.data = torch.from_numpy(storable(value, kind) if len(shape) == 2 else value)
    model.tie_weights()
    return model.float().eval()


NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
         "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate",
         "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
         "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


def gguf_name(name):
    for ours, theirs in (("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"),
                         ("lm_head", "output")):
        if name.startswith(ours + "."):
            return name.replace(ours, theirs)
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    stem, part = rest.rsplit(".", 1)
    return f"blk.{layer}.{NAMES[stem]}.{part}"


def neighbours(weight, head_dim):
    """q and k rows as `llama` files store them: RoPE pairs side by side, not half a head apart."""
    heads = weight.reshape(-1, 2, head_dim // 2, weight.shape[-1])
    return np.ascontiguousarray(heads.swapaxes(1, 2)).reshape(weight.shape)


def llama3_divisors(config):
    """What the frequencies of Llama 3.1 are divided by, as tensor rope_freqs.weight stores it."""
    rope, half = config.rope_parameters, config.head_dim // 2
    divisors = []
    for i in range(half):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (i / half)
        turns = rope["original_max_position_embeddings"] / wavelength
        low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
        share = min(max((turns - low) / (high - low), 0.0), 1.0)
        divisors.append(1.0 / (share + (1 - share) / factor))
    return np.array(divisors, np.float32)


def byte_alphabet():
    """GPT-2's printable stand-ins for the 256 bytes."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(b if b in kept else next(spare)) for b in range(256)]


def write_metadata(writer, config):
    rope = config.rope_parameters
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    special = [f"<|special{i}|>" for i in range(VOCAB - 257)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*byte_alphabet(), "th", *special])
    writer.add_token_types([1] * 257 + [3] * len(special))
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(257)
    writer.add_eos_token_id(258)


def write_gguf(path, name, kind, model):
    config = model.config
    writer = gguf.GGUFWriter(str(path), config.model_type)
    writer.add_name(name)
    write_metadata(writer, config)
    for key, parameter in model.named_parameters():
        value = parameter.detach().numpy()
        if config.model_type == "llama" and key.endswith(("q_proj.weight", "k_proj.weight")):
            value = neighbours(value, config.head_dim)
        if value.ndim == 1:
            writer.add_tensor(gguf_name(key), value)
        else:
            writer.add_tensor(gguf_name(key), gguf.quantize(value, kind), raw_dtype=kind)
    if config.rope_parameters["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_divisors(config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_embedded():
    """The embedded model in Transformers: the inverse of write_gguf for a plain `llama` file."""
    reader = gguf.GGUFReader(EMBEDDED)

    def number(key):
        return reader.get_field("llama." + key).contents()
    tensors = {t.name: t.data.astype(np.float32) for t in reader.tensors}
    vocab, dim = tensors["token_embd.weight"].shape
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=vocab, hidden_size=dim, num_hidden_layers=number("block_count"),
        intermediate_size=number("feed_forward_length"),
        rms_norm_eps=number("attention.layer_norm_rms_epsilon"),
        max_position_embeddings=number("context_length"),
        num_attention_heads=number("attention.head_count"),
        num_key_value_heads=number("attention.head_count_kv"),
        head_dim=number("attention.key_length"), rope_parameters=plain(number("rope.freq_base")),
        tie_word_embeddings="output.weight" not in tensors))
    for key, parameter in model.named_parameters():
        value = tensors[gguf_name(key)]
        if key.endswith(("q_proj.weight", "k_proj.weight")):
            heads = value.reshape(-1, model.config.head_dim // 2, 2, dim)
            value = np.ascontiguousarray(heads.swapaxes(1, 2)).reshape(value.shape)
        parameter.data = torch.from_numpy(value)
    model.tie_weights()
    return model.float().eval()


@torch.no_grad()
def write_logits(path, model, tokens, positions):
    logits = model(torch.tensor([tokens])).logits[0].numpy()
    print(f"{path.stem}: {len(tokens)} tokens, standard deviation of logits {logits.std():.2f}")
    with open(path, "wb") as f:
        f.write(struct.pack("<3i", len(tokens), len(positions), logits.shape[1]))
        f.write(np.array([*tokens, *positions], "<i4").tobytes())
        f.write(logits[positions].astype("<f4").tobytes())


def main(folder):
    torch.set_num_threads(1)
    rng = np.random.default_rng(20240607)
    for name, kind, model in models():
        model = draw(model, kind, rng)
        with tempfile.TemporaryDirectory() as scratch:  # the reference is what is read back
            model.save_pretrained(scratch)
            model = AutoModelForCausalLM.from_pretrained(scratch, dtype=torch.float32).eval()
        write_gguf(folder / f"{name}.gguf", name, kind, model)
        tokens = rng.integers(0, VOCAB, TOKENS).tolist()
        positions = [0, *range(EVERY - 1, TOKENS, EVERY)]
        write_logits(folder / f"{name}.logits", model, tokens, positions)
    model = read_embedded()
    tokens = AutoTokenizer.from_pretrained(str(EMBEDDED.parent), gguf_file=EMBEDDED.name).encode(
        TEXT, add_special_tokens=False)
    positions = [0, 1, 10, 50, 100, len(tokens) - 2, len(tokens) - 1]
    write_logits(folder / "kvkeep-5m.logits", model, tokens, positions)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
