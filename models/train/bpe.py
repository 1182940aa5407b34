"""A small vocabulary leaves most of 5 M parameters to the layers; none that small is ready-made.

Byte-level BPE with GPT-2's pre-tokenizer. Digits never merge, so every digit is one token and
numbers of equal length have equal token counts, which is what retrieval tests want.
"""
import collections
import heapq
import re
import unicodedata

END, PAD = "<|endoftext|>", "<|pad|>"
NUMBERS = "".join(re.escape(chr(c)) for c in range(0x110000)
                  if unicodedata.category(chr(c)).startswith("N"))
# Python's re has no \p{L} and \p{N}: letters are \w without numbers and underscore.
PIECES = re.compile(r"'(?:s|t|re|ve|m|ll|d)| ?[^\W_" + NUMBERS + r"]+| ?[" + NUMBERS +
                    r"]+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")


def printable_bytes():
    """GPT-2 shows each of the 256 bytes as one printable character; the others move up from 256."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in shown]
    return {**{b: chr(b) for b in shown}, **{b: chr(256 + i) for i, b in enumerate(hidden)}}


TO_CHAR = printable_bytes()
TO_BYTE = {c: b for b, c in TO_CHAR.items()}


def spell(word):
    return [TO_CHAR[b] for b in word.encode("utf-8")]


def join_pair(symbols, pair):
    out, i = [], 0
    while i < len(symbols):
        width = 2 if tuple(symbols[i:i + 2]) == pair else 1
        out.append("".join(symbols[i:i + width]))
        i += width
    return out


class PairCounts:
    """Counts of adjacent symbols over all distinct words, kept current while pairs merge."""

    def __init__(self, words):
        self.words = [spell(w) for w in words]
        self.weight = list(words.values())
        self.count = collections.Counter()
        self.where = collections.defaultdict(set)
        for i in range(len(self.words)):
            self.add(i, 1)
        self.heap = [(-n, pair) for pair, n in self.count.items()]
        heapq.heapify(self.heap)

    def add(self, i, sign):
        """Counts (+1) or forgets (-1) the pairs of word i; returns them."""
        pairs = [p for p in zip(self.words[i], self.words[i][1:])
                 if not any(c.isdigit() and c.isascii() for c in p[0] + p[1])]
        for pair in pairs:
            self.count[pair] += sign * self.weight[i]
            (self.where[pair].add if sign > 0 else self.where[pair].discard)(i)
        return pairs

    def pop(self):
        """The most frequent pair, or None. Stale heap entries go back with today's count."""
        while self.heap:
            n, pair = heapq.heappop(self.heap)
            if self.count[pair] == -n:
                return pair
            if self.count[pair] > 0:
                heapq.heappush(self.heap, (-self.count[pair], pair))
        return None

    def merge(self, pair):
        changed = set()
        for i in sorted(self.where[pair]):
            self.add(i, -1)
            self.words[i] = join_pair(self.words[i], pair)
            changed.update(self.add(i, 1))
        for p in changed:
            heapq.heappush(self.heap, (-self.count[p], p))


def train_bpe(text, size):
    """Learns a tokenizer of at most `size` tokens: 256 bytes, merges by frequency, two specials."""
    pairs = PairCounts(collections.Counter(PIECES.findall(text)))
    tokens = dict.fromkeys(sorted(TO_BYTE, key=lambda c: (ord(c) > 255, ord(c))))
    merges = []
    while len(tokens) + 2 < size:
        pair = pairs.pop()
        if pair is None:
            break
        pairs.merge(pair)
        merges.append(" ".join(pair))
        tokens["".join(pair)] = None
    return Tokenizer([*tokens, END, PAD], merges)


class Tokenizer:
    """Encodes words once and remembers them: English repeats itself."""

    def __init__(self, tokens, merges):
        self.tokens, self.merges = list(tokens), list(merges)
        self.ids = {t: i for i, t in enumerate(self.tokens)}
        self.ranks = {tuple(m.split(" ")): i for i, m in enumerate(self.merges)}
        self.end, self.pad = self.ids[END], self.ids[PAD]
        self.cache = {}

    def encode_word(self, word):
        symbols = spell(word)
        while len(symbols) > 1:
            pair = min(zip(symbols, symbols[1:]), key=lambda p: self.ranks.get(p, 1 << 30))
            if pair not in self.ranks:
                break
            symbols = join_pair(symbols, pair)
        return [self.ids[s] for s in symbols]

    def encode(self, text):
        """Token ids of plain text; special tokens have no spelling here and never come out."""
        ids = []
        for word in PIECES.findall(text):
            known = self.cache.get(word)
            if known is None:
                known = self.cache[word] = self.encode_word(word)
            ids += known
        return ids

    def decode(self, ids):
        text = "".join(self.tokens[i] for i in ids if i not in (self.end, self.pad))
        return bytes(TO_BYTE[c] for c in text).decode("utf-8", "replace")
