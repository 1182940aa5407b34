"""ik_llama.cpp, a fork of llama.cpp with faster kernels, by the wheel of ik-llama-cpp-python.

The wheel is built for AVX2; on a processor with AVX-512 a native build of the same source would be
faster, so what is measured is this package and not the best that the engine can do.
"""

import ctypes
import struct

import adapter

LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class IkLlamaCpp:
    name = "ik_llama.cpp"
    # A saved state (saved_state.py): no head, a cell's sequence is not named, an empty last part.
    head, cell, tail = 0, struct.pack("<I", 0), 4

    def __init__(self):
        from ik_llama_cpp import _ctypes_api as api
        self.api, self.library = api, api._lib
        self.version = "ik-llama-cpp-python 0.1.5, built for AVX2"
        self.declare()
        api.llama_backend_init()
        self.quiet = LOG(lambda level, text, data: None)  # must outlive the library's use of it
        self.library.llama_log_set(self.quiet, None)

    def declare(self):
        """What the package's own interface leaves out."""
        where, size = ctypes.c_void_p, ctypes.c_size_t
        for name, result, arguments in [
                ("llama_log_set", None, [LOG, where]),
                ("llama_print_system_info", ctypes.c_char_p, []),
                ("llama_batch_get_one", self.api.llama_batch,
                 [where, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32]),
                ("llama_kv_cache_seq_pos_max", ctypes.c_int32, [where, ctypes.c_int32]),
                ("llama_state_seq_get_size", size, [where, ctypes.c_int32, ctypes.c_uint32]),
                ("llama_state_seq_get_data", size,
                 [where, where, size, ctypes.c_int32, ctypes.c_uint32]),
                ("llama_state_seq_set_data", size,
                 [where, where, size, ctypes.c_int32, ctypes.c_uint32])]:
            function = getattr(self.library, name)
            function.restype, function.argtypes = result, arguments

    def system(self):
        return self.library.llama_print_system_info().decode().strip()

    def load(self, path):
        return self.api.llama_model_load_from_file(path.encode(),
                                                   self.api.llama_model_default_params())

    def vocabulary(self, model):
        return self.api.llama_vocab_n_tokens(self.api.llama_model_get_vocab(model))

    def open(self, model, keys, values, flash, context, batch, threads):
        params = self.api.llama_context_default_params()
        params.n_ctx = context
        params.n_batch = params.n_ubatch = batch
        params.n_seq_max = 1
        params.n_threads = params.n_threads_batch = threads
        params.type_k, params.type_v, params.flash_attn = keys, values, flash
        return self.api.llama_init_from_model(model, params)

    def close(self, context):
        self.api.llama_free(context)

    def decode(self, context, tokens, position):
        array = (ctypes.c_int32 * len(tokens))(*tokens)
        batch = self.library.llama_batch_get_one(array, len(tokens), position, 0)
        return self.api.llama_decode(context, batch)

    def logits(self, context, count):
        return self.api.llama_get_logits_ith(context, -1)[:count]

    def last_position(self, context):
        return self.library.llama_kv_cache_seq_pos_max(context, 0)

    def state_size(self, context):
        return self.library.llama_state_seq_get_size(context, 0, 0)

    def state(self, context):
        size = self.state_size(context)
        saved = (ctypes.c_uint8 * size)()
        self.library.llama_state_seq_get_data(context, saved, size, 0, 0)
        return bytes(saved)

    def set_state(self, context, state):
        data = (ctypes.c_uint8 * len(state)).from_buffer(state)
        if self.library.llama_state_seq_set_data(context, data, len(state), 0, 0) == 0:
            raise ValueError("ik_llama.cpp does not take the stretched state")


if __name__ == "__main__":
    adapter.main(IkLlamaCpp)
