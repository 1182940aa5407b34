"""llama.cpp as a rival of `kvkeep bench decode`, by llama-cpp-python."""

import struct

import adapter
from engine import Engine


class LlamaCpp(Engine):
    name = "llama.cpp"
    # A saved state (saved_state.py): magic, sequence and streams; a cell is in one sequence, 0.
    head, cell, tail = 12, struct.pack("<Ii", 1, 0), 0

    def __init__(self):
        import llama_cpp
        from llama_cpp import llama_cpp as library
        self.version = f"llama-cpp-python {llama_cpp.__version__}"
        super().__init__(library, library, library.llama_log_callback)

    def set_flash(self, params, flash):
        params.flash_attn_type = 1 if flash else 0

    def decode(self, context, tokens, _):
        array = (self.native.llama_token * len(tokens))(*tokens)
        code = self.native.llama_decode(context,
                                         self.native.llama_batch_get_one(array, len(tokens)))
        self.native.llama_synchronize(context)
        return code

    def last_position(self, context):
        return self.native.llama_memory_seq_pos_max(self.native.llama_get_memory(context), 0)


if __name__ == "__main__":
    adapter.main(LlamaCpp)
