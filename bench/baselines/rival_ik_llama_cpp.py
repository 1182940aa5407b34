"""ik_llama.cpp, a fork of llama.cpp with faster kernels, by the wheel of ik-llama-cpp-python.

The wheel is built for AVX2; on a processor with AVX-512 a native build of the same source would be
faster, so what is measured is this package and not the best that the engine can do.
"""

import ctypes
import struct

import adapter
from engine import Engine

LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class IkLlamaCpp(Engine):
    name, flags = "ik_llama.cpp", (0,)
    # A saved state (saved_state.py): no head, a cell's sequence is not named, an empty last part.
    head, cell, tail = 0, struct.pack("<I", 0), 4

    def __init__(self):
        from ik_llama_cpp import _ctypes_api as api
        self.version = "ik-llama-cpp-python 0.1.5, built for AVX2"
        self.declare(api)
        super().__init__(api, api._lib, LOG)

    def declare(self, api):
        """What the package's own interface leaves out."""
        where, size = ctypes.c_void_p, ctypes.c_size_t
        for name, result, arguments in [
                ("llama_log_set", None, [LOG, where]),
                ("llama_print_system_info", ctypes.c_char_p, []),
                ("llama_batch_get_one", api.llama_batch,
                 [where, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32]),
                ("llama_kv_cache_seq_pos_max", ctypes.c_int32, [where, ctypes.c_int32]),
                ("llama_state_seq_get_size", size, [where, ctypes.c_int32, ctypes.c_uint32]),
                ("llama_state_seq_get_data", size,
                 [where, where, size, ctypes.c_int32, ctypes.c_uint32]),
                ("llama_state_seq_set_data", size,
                 [where, where, size, ctypes.c_int32, ctypes.c_uint32])]:
            function = getattr(api._lib, name)
            function.restype, function.argtypes = result, arguments

    def set_flash(self, params, flash):
        params.flash_attn = flash

    def decode(self, context, tokens, position):
        array = (ctypes.c_int32 * len(tokens))(*tokens)
        batch = self.native.llama_batch_get_one(array, len(tokens), position, 0)
        return self.api.llama_decode(context, batch)

    def last_position(self, context):
        return self.native.llama_kv_cache_seq_pos_max(context, 0)


if __name__ == "__main__":
    adapter.main(IkLlamaCpp)
