"""Book text alone does not teach a small model to look things up, and caches are tested by that.

Every task is plain text in segments (text, loss weight): what can be answered from the context
counts fully, the rest hardly (FAINT), because random keys and digits cannot be predicted.
Evaluation asks with the same sentences.
"""
import itertools

FAINT = 0.05
ADJECTIVES = sorted(set("""old new great little good long young small white black red blue green
dark cold warm poor rich high low deep strong wild quiet gentle brave bright heavy light quick slow
soft hard sweet bitter dry wet early late open empty full broken golden silver wooden silent happy
sad proud humble noble plain strange common secret sudden distant ancient royal narrow broad round
sharp smooth rough fair clean calm cruel kind wise grave pale thin thick tall short free clear fine
rare simple faint idle loose merry busy keen ripe steep stiff stout tame vast weak mild grey
brown""".split()))
NOUNS = sorted(set("""house man woman child king queen horse dog cat bird tree river hill stone
door window table chair book letter ship boat road bridge garden field forest mountain island tower
church castle village town city street market shop school room hall kitchen fire lamp candle mirror
clock bell coat hat shoe ring crown sword knife gun spear shield flag drum song dance story dream
cloud storm wind rain snow star moon sun sea lake shore beach cave valley desert flower rose apple
bread wine milk cheese honey salt sugar butter fish fox wolf bear lion tiger eagle sheep goat cow
pig duck hen mouse rabbit deer snake spider bee farmer soldier sailor doctor priest judge teacher
student servant master captain merchant hunter thief friend uncle brother sister mother father
daughter cousin""".split()))
FILLER = ["The grass is green.", "The sky is blue.", "The sun is yellow.", "Here we go.",
          "There and back again."]
MORE_FILLER = FILLER + ["The wind is cold.", "The road is long.", "The water is deep.",
                        "The night is dark.", "The house is old."]
PASSKEY_HEAD = ("There is important information hidden inside this text. "
                "Find it and remember it.\n")
PASSKEY_QUESTION = "\nWhat is the pass key? The pass key is <"
PASSKEY_OVERHEAD = 90           # tokens of a passkey prompt without its filler, at most


def lines_prompt(keys, values):
    lines = (f"line {k}: REGISTER_CONTENT is <{v}>\n" for k, v in zip(keys, values))
    return "Below is a record of lines to remember.\n" + "".join(lines)


def lines_question(key):
    return (f"What is the REGISTER_CONTENT in line {key}? "
            f"The REGISTER_CONTENT in line {key} is <")


def pairs_prompt(keys, values):
    return "Dictionary:\n" + "".join(f"{k}: {v}\n" for k, v in zip(keys, values))


def pairs_question(key):
    return f"Question: {key}\nAnswer:"


class Tasks:
    """Makes random tasks. All randomness comes from `rng`, so a seed names a task exactly."""

    def __init__(self, rng, tokenizer, words):
        self.rng, self.tokenizer, self.words = rng, tokenizer, words

    def size(self, text):
        return len(self.tokenizer.encode(text))

    def digits(self, n):
        return "".join(self.rng.choice("0123456789") for _ in range(n))

    def compound(self):
        return self.rng.choice(ADJECTIVES) + "-" + self.rng.choice(NOUNS)

    def distinct(self, n, make):
        seen = {}
        while len(seen) < n:
            seen[make()] = None
        return list(seen)

    def line_keys(self, n, numbered):
        return self.distinct(n, (lambda: self.digits(3)) if numbered else self.compound)

    def pick(self, n, early):
        """An index below n; with probability `early` one of the first tenth."""
        return self.rng.randrange(max(1, n // 10) if self.rng.random() < early else n)

    def lines(self, n, questions, early=0.0):
        keys = self.line_keys(n, numbered=self.rng.random() < 0.35)
        values = [self.digits(5) for _ in keys]
        out = [(lines_prompt(keys, values), FAINT)]
        for _ in range(questions):
            i = self.pick(n, early)
            out += [(lines_question(keys[i]), FAINT), (values[i] + ">", 1.0), ("\n", FAINT)]
        return out

    def pairs(self, n, questions):
        nouns = n < len(NOUNS) // 2 and self.rng.random() < 0.7
        keys = self.distinct(n, lambda: self.rng.choice(NOUNS if nouns else self.words))
        as_words = self.rng.random() < 0.4
        values = [self.rng.choice(self.words) if as_words else self.digits(4) for _ in keys]
        out = [(pairs_prompt(keys, values), FAINT)]
        for _ in range(questions):
            i = self.rng.randrange(n)
            out += [(pairs_question(keys[i]), FAINT), (" " + values[i], 1.0), ("\n", FAINT)]
        return out

    def copy(self, n, repeats):
        kind = self.rng.random()
        if kind < 0.6:
            text = " ".join(self.rng.choice(self.words) for _ in range(n))
        elif kind < 0.8:
            text = self.digits(n)
        else:
            text = " ".join(self.compound() for _ in range(max(2, n // 2)))
        out = [(f"Repeat: {text}\nAgain:", FAINT)]
        for left in reversed(range(repeats - 1)):
            out += [(" " + text, 1.0), ("\nAgain:" if left else "\n", FAINT)]
        return out

    def fit(self, sentences, room):
        """As many of the sentences as have `room` tokens together."""
        kept = []
        for s in sentences:
            room -= self.size(" " + s)
            if room < 0:
                break
            kept.append(s)
        return kept

    def filler(self, room, mixed=False):
        if not mixed:
            return self.fit(itertools.cycle(FILLER), room)
        endless = iter(lambda: self.rng.choice(MORE_FILLER), None)
        return self.fit(endless, room)

    def book_sentences(self, book, room):
        """Sentences of a stretch of `book` (token ids)."""
        start = self.rng.randrange(max(1, len(book) - room))
        text = self.tokenizer.decode(book[start:start + room].tolist()).strip()
        return self.fit([s + "." for s in text.split(". ")], room)

    def passkey(self, sentences, depth, weight=1.0):
        """The key goes before sentence depth * len(sentences)."""
        key, at = self.digits(5), round(depth * len(sentences))
        needle = f" The pass key is <{key}>. Remember it. <{key}> is the pass key."
        after = "".join(" " + s for s in sentences[at:])
        return [(PASSKEY_HEAD + " ".join(sentences[:at]), FAINT), (needle, FAINT), (after, FAINT),
                (PASSKEY_QUESTION, FAINT), (key + ">", weight), ("\n", FAINT)]
