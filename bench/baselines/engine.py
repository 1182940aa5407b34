"""The calls of llama.cpp's C interface, for llama.cpp and for its fork alike.

An adapter (rival_*.py) names what differs: how flash attention is asked for, how a batch is made,
and the form of a saved state.
"""

import ctypes


class Engine:
    flags = ()  # what the calls about a sequence's state take beside it

    def __init__(self, api, library, log_callback):
        """api: the package's functions; library: those that take and give plain C types."""
        self.api, self.native = api, library
        api.llama_backend_init()
        self.quiet = log_callback(lambda level, text, data: None)  # outlives the library's use
        library.llama_log_set(self.quiet, None)

    def system(self):
        return self.native.llama_print_system_info().decode().strip()

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
        params.type_k, params.type_v = keys, values
        self.set_flash(params, flash)
        return self.api.llama_init_from_model(model, params)

    def close(self, context):
        self.api.llama_free(context)

    def logits(self, context, count):
        return self.api.llama_get_logits_ith(context, -1)[:count]

    def state_size(self, context):
        return self.native.llama_state_seq_get_size(context, 0, *self.flags)

    def state(self, context):
        size = self.state_size(context)
        saved = (ctypes.c_uint8 * size)()
        self.native.llama_state_seq_get_data(context, saved, size, 0, *self.flags)
        return bytes(saved)

    def set_state(self, context, state):
        data = (ctypes.c_uint8 * len(state)).from_buffer(state)
        if self.native.llama_state_seq_set_data(context, data, len(state), 0, *self.flags) == 0:
            raise ValueError(f"{self.name} does not take the stretched state")
