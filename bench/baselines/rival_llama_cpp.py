"""llama.cpp as a rival of `kvkeep bench decode`, by llama-cpp-python."""

import ctypes
import struct

import adapter


class LlamaCpp:
    name = "llama.cpp"
    # A saved state (saved_state.py): magic, sequence and streams; a cell is in one sequence, 0.
    head, cell, tail = 12, struct.pack("<Ii", 1, 0), 0

    def __init__(self):
        import llama_cpp
        from llama_cpp import llama_cpp as library
        self.library, self.version = library, f"llama-cpp-python {llama_cpp.__version__}"
        library.llama_backend_init()
        # It must outlive the library's use of it.
        self.quiet = library.llama_log_callback(lambda level, text, data: None)
        library.llama_log_set(self.quiet, None)

    def system(self):
        return self.library.llama_print_system_info().decode().strip()

    def load(self, path):
        params = self.library.llama_model_default_params()
        return self.library.llama_model_load_from_file(path.encode(), params)

    def vocabulary(self, model):
        return self.library.llama_vocab_n_tokens(self.library.llama_model_get_vocab(model))

    def open(self, model, keys, values, flash, context, batch, threads):
        params = self.library.llama_context_default_params()
        params.n_ctx = context
        params.n_batch = params.n_ubatch = batch
        params.n_seq_max = 1
        params.n_threads = params.n_threads_batch = threads
        params.type_k, params.type_v = keys, values
        params.flash_attn_type = 1 if flash else 0
        return self.library.llama_init_from_model(model, params)

    def close(self, context):
        self.library.llama_free(context)

    def decode(self, context, tokens, _):
        array = (self.library.llama_token * len(tokens))(*tokens)
        code = self.library.llama_decode(context,
                                         self.library.llama_batch_get_one(array, len(tokens)))
        self.library.llama_synchronize(context)
        return code

    def logits(self, context, count):
        return self.library.llama_get_logits_ith(context, -1)[:count]

    def last_position(self, context):
        return self.library.llama_memory_seq_pos_max(self.library.llama_get_memory(context), 0)

    def state_size(self, context):
        return self.library.llama_state_seq_get_size(context, 0)

    def state(self, context):
        size = self.state_size(context)
        saved = (ctypes.c_uint8 * size)()
        self.library.llama_state_seq_get_data(context, saved, size, 0)
        return bytes(saved)

    def set_state(self, context, state):
        data = (ctypes.c_uint8 * len(state)).from_buffer(state)
        if self.library.llama_state_seq_set_data(context, data, len(state), 0) == 0:
            raise ValueError("llama.cpp does not take the stretched state")


if __name__ == "__main__":
    adapter.main(LlamaCpp)
