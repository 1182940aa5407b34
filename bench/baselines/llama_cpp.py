"""llama.cpp as a rival of `kvkeep bench decode`: see README.md for the questions it answers.

Needs llama-cpp-python. Its modes are cache types with flash attention on ("fa") and off; llama.cpp
quantizes values only with flash attention. A cache deeper than READ_TOKENS is not read as a prompt,
which would take hours on a CPU: a shorter one is read, saved, and its rows are repeated in the
saved state up to the depth wanted. The rows differ from those of a real text; the bytes that a step
reads do not.
"""

import ctypes
import json
import os
import struct
import sys
import time

READ_TOKENS = 512  # the most that are read as a prompt when more are wanted
MODES = {  # name: (type of keys, type of values, flash attention)
    "f16 fa": ("f16", "f16", True),
    "q8_0 fa": ("q8_0", "q8_0", True),
    "q4_0 fa": ("q4_0", "q4_0", True),
    "f16": ("f16", "f16", False),
    "q8_0/f16": ("q8_0", "f16", False),
    "q4_0/f16": ("q4_0", "f16", False),
}


class Cells:
    """A saved sequence: which cells there are, then the keys of each layer, then the values."""

    def __init__(self, state):
        self.state, self.at = state, 0

    def take(self, size):
        piece = self.state[self.at:self.at + size]
        if len(piece) < size:
            raise ValueError("the saved state is shorter than expected")
        self.at += size
        return piece

    def number(self, form):
        return struct.unpack("<" + form, self.take(struct.calcsize(form)))[0]


def repeat(piece, count, wanted):
    """`wanted` rows: the `count` rows of `piece`, repeated as often as needed."""
    row = len(piece) // count
    whole, rest = divmod(wanted, count)
    return piece * whole + piece[:rest * row]


def stretched(state, wanted):
    """A state of llama_state_seq_get_data with its cells repeated up to `wanted`."""
    cells = Cells(state)
    out = [cells.take(8)]  # magic, sequence
    streams = cells.number("I")
    if streams != 1:
        raise ValueError(f"the saved state has {streams} streams, expected 1")
    count = cells.number("I")
    out += [struct.pack("<II", streams, wanted)]
    for position in range(count):  # position, how many sequences, which
        if struct.unpack("<iIi", cells.take(12)) != (position, 1, 0):
            raise ValueError("the saved state is not of one sequence")
    out += [struct.pack("<iIi", position, 1, 0) for position in range(wanted)]
    transposed, layers = cells.number("I"), cells.number("I")
    out += [struct.pack("<II", transposed, layers)]
    for _ in range(layers):  # keys: type, bytes of a row, rows
        kind, row = cells.number("i"), cells.number("Q")
        out += [struct.pack("<iQ", kind, row), repeat(cells.take(count * row), count, wanted)]
    for _ in range(layers):
        kind = cells.number("i")
        if not transposed:
            row = cells.number("Q")
            out += [struct.pack("<iQ", kind, row), repeat(cells.take(count * row), count, wanted)]
            continue
        size, width = cells.number("I"), cells.number("I")  # bytes of a value, values of a row
        out += [struct.pack("<iII", kind, size, width)]
        out += [repeat(cells.take(count * size), count, wanted) for _ in range(width)]
    if cells.at != len(state):
        raise ValueError(f"{len(state) - cells.at} bytes of the saved state are left over")
    return bytearray().join(out)


class Runner:
    """One context of llama.cpp: a model, a mode, a depth."""

    def __init__(self, library, model, mode, depth, room, threads):
        self.library = library
        keys, values, flash = MODES[mode]
        types = {"f16": library.GGML_TYPE_F16, "q8_0": library.GGML_TYPE_Q8_0,
                 "q4_0": library.GGML_TYPE_Q4_0}
        params = library.llama_context_default_params()
        params.n_ctx = -(-(depth + room + 1) // 256) * 256
        params.n_batch = params.n_ubatch = READ_TOKENS
        params.n_seq_max = 1
        params.n_threads = params.n_threads_batch = threads
        params.type_k, params.type_v = types[keys], types[values]
        if hasattr(params, "flash_attn_type"):
            params.flash_attn_type = 1 if flash else 0
        else:
            params.flash_attn = flash
        self.context = library.llama_init_from_model(model, params)
        if not self.context:
            raise ValueError(f"llama.cpp refuses mode {mode}")
        self.vocabulary = library.llama_vocab_n_tokens(library.llama_model_get_vocab(model))
        self.filled = self.fill(depth)

    def fill(self, depth):
        if depth == 0:
            return "empty"
        self.read(min(depth, READ_TOKENS))
        if depth <= READ_TOKENS:
            return "read"
        library = self.library
        size = library.llama_state_seq_get_size(self.context, 0)
        saved = (ctypes.c_uint8 * size)()
        library.llama_state_seq_get_data(self.context, saved, size, 0)
        state = stretched(bytes(saved), depth)
        data = (ctypes.c_uint8 * len(state)).from_buffer(state)
        if library.llama_state_seq_set_data(self.context, data, len(state), 0) == 0:
            raise ValueError("llama.cpp does not take the stretched state")
        memory = library.llama_get_memory(self.context)
        if library.llama_memory_seq_pos_max(memory, 0) != depth - 1:
            raise ValueError("the stretched state does not end where it should")
        return "repeated"

    def read(self, count):
        tokens = (self.library.llama_token * count)(
            *(3 + i % (self.vocabulary - 3) for i in range(count)))
        self.run(tokens, count)

    def run(self, tokens, count):
        code = self.library.llama_decode(self.context,
                                         self.library.llama_batch_get_one(tokens, count))
        if code != 0:
            raise ValueError(f"llama_decode says {code}")
        self.library.llama_synchronize(self.context)

    def decode(self, steps):
        token = (self.library.llama_token * 1)(3)
        start = time.perf_counter()
        for _ in range(steps):
            self.run(token, 1)
        return time.perf_counter() - start


class Adapter:
    def __init__(self, library):
        self.library, self.models, self.runners = library, {}, []
        library.llama_backend_init()
        quiet = library.llama_log_callback(lambda level, text, data: None)
        self.quiet = quiet  # must outlive the library's use of it
        library.llama_log_set(quiet, None)

    def model(self, path):
        if path not in self.models:
            params = self.library.llama_model_default_params()
            self.models[path] = self.library.llama_model_load_from_file(path.encode(), params)
        if not self.models[path]:
            raise ValueError(f"llama.cpp cannot read {path}")
        return self.models[path]

    def answer(self, question):
        if question["do"] == "hello":
            import llama_cpp
            other = os.environ.get("LLAMA_CPP_LIB_PATH")  # a library built elsewhere
            return {"engine": "llama.cpp",
                    "version": f"llama-cpp-python {llama_cpp.__version__}" +
                               (f" with {os.path.basename(other)}" if other else ""),
                    "system": self.library.llama_print_system_info().decode().strip(),
                    "modes": list(MODES)}
        if question["do"] == "open":
            runner = Runner(self.library, self.model(question["model"]), question["mode"],
                            question["depth"], question["room"], question["threads"])
            self.runners.append(runner)
            size = self.library.llama_state_seq_get_size(runner.context, 0)
            return {"id": len(self.runners) - 1, "cache_bytes": size, "filled": runner.filled}
        if question["do"] == "decode":
            return {"seconds": self.runners[question["id"]].decode(question["steps"])}
        raise ValueError(f"unknown question {question['do']}")


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the library prints must not mix with the answers
    sys.path.pop(0)  # this folder, where this very file would be found as llama_cpp
    try:
        from llama_cpp import llama_cpp as library
    except ImportError as error:
        print(json.dumps({"error": f"{error}; ./dev bench --setup-rivals installs it"}),
              file=answers, flush=True)
        return
    adapter = Adapter(library)
    for line in sys.stdin:
        try:
            answer = adapter.answer(json.loads(line))
        except Exception as error:  # whatever it is, the other side must hear of it
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
