"""Writes what the `tokenizers` package makes of the strings of mixed_text.py.

    python make_tokenizer_golden.py NAME tokenizer.json COUNT   -> tokenizer_NAME.txt
    python make_tokenizer_golden.py pretokenizers               -> pretokenizers.txt
    python make_tokenizer_golden.py spm                         -> spm.json

tokenizer_NAME.txt: line i is the hash of the ids of mixed_text(i), the first 200 with the ids.
pretokenizers.txt: line i has, for each family below, the hash of the pieces' lengths in bytes.
spm.json: a SentencePiece-style vocabulary (best first after the bytes) and the hashes of its ids.
"""

import json
import sys

from mixed_text import FOLDER, fnv, mixed_text
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

EXAMPLES = 200
SPLIT_COUNT = 2000
SPM_COUNT = 1000
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
DEFAULT = [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]


def text_of(seed):
    return mixed_text(seed).decode("utf-8", "replace")


def splits(*patterns):
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns])


def smollm():
    return pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])


def make_ids(name, path, count):
    tokenizer = Tokenizer.from_file(path)
    with open(FOLDER / f"tokenizer_{name}.txt", "w", encoding="ascii") as out:
        for i in range(count):
            ids = tokenizer.encode(text_of(i), add_special_tokens=False).ids
            example = " " + " ".join(map(str, ids)) if i < EXAMPLES else ""
            out.write(f"{fnv(ids):016x}{example}\n")


def piece_lengths(family, text):
    pieces = family.pre_tokenize_str(text)
    return [len(text[begin:end].encode()) for _, (begin, end) in pieces]


def make_pretokenizers():
    families = [("gpt-2", splits(GPT2)), ("llama-bpe", splits(LLAMA3)), ("qwen2", splits(QWEN2)),
                ("smollm", smollm()), ("default", splits(*DEFAULT))]
    with open(FOLDER / "pretokenizers.txt", "w", encoding="ascii") as out:
        out.write(" ".join(name for name, _ in families) + "\n")
        for i in range(SPLIT_COUNT):
            text = text_of(i)
            row = [f"{fnv(piece_lengths(family, text)):016x}" for _, family in families]
            out.write(" ".join(row) + "\n")


def train_pieces():
    """A vocabulary of characters and merges, most useful first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    trainer = trainers.BpeTrainer(vocab_size=900, min_frequency=3, limit_alphabet=250,
                                  show_progress=False)
    tokenizer.train_from_iterator([text_of(i) for i in range(20000, 24000)], trainer)
    vocab = tokenizer.get_vocab()
    return sorted(vocab, key=lambda token: (len(token) == 1, vocab[token]))


def make_spm():
    tokens = ["<unk>"] + [f"<0x{byte:02X}>" for byte in range(256)] + train_pieces()
    vocab = {token: i for i, token in enumerate(tokens)}
    merges = [(token[:cut], token[cut:]) for token in tokens[257:] for cut in range(1, len(token))
              if token[:cut] in vocab and token[cut:] in vocab]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    hashes = [f"{fnv(tokenizer.encode(text_of(i)).ids):016x}" for i in range(SPM_COUNT)]
    (FOLDER / "spm.json").write_text(
        json.dumps({"pieces": tokens[257:], "hashes": hashes}, indent=0) + "\n", encoding="ascii")


def main():
    if sys.argv[1] == "pretokenizers":
        make_pretokenizers()
    elif sys.argv[1] == "spm":
        make_spm()
    else:
        make_ids(sys.argv[1], sys.argv[2], int(sys.argv[3]))


if __name__ == "__main__":
    main()
