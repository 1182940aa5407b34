"""A saved sequence of llama.cpp, made longer: how a rival gets a cache of any depth.

Reading a prompt of 32K tokens on a CPU takes hours. A short one is read and saved, and its rows are
repeated in the saved state up to the depth wanted. The rows differ from those of a real text; the
bytes that a step reads do not. The form is that of llama_state_seq_get_data: a head, how many cells
there are, each cell's position and sequences, then the keys of each layer, then the values.
"""

import struct


class Cells:
    """Takes a saved state apart, from its start to its end."""

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


def stretched_rows(cells, count, wanted):
    kind, row = cells.number("i"), cells.number("Q")  # type, bytes of a row
    return [struct.pack("<iQ", kind, row), repeat(cells.take(count * row), count, wanted)]


def stretched_columns(cells, count, wanted):
    kind = cells.number("i")
    size, width = cells.number("I"), cells.number("I")  # bytes of a value, values of a row
    return [struct.pack("<iII", kind, size, width)] + [
        repeat(cells.take(count * size), count, wanted) for _ in range(width)]


def stretched(state, wanted, head, cell, tail):
    """The state with its cells repeated up to `wanted`.

    head: how many bytes stand before the number of cells; cell: the bytes that follow a cell's
    position; tail: how many bytes stand at the end.
    """
    cells = Cells(state)
    out = [cells.take(head)]
    count = cells.number("I")
    out.append(struct.pack("<I", wanted))
    for position in range(count):
        if cells.take(4 + len(cell)) != struct.pack("<i", position) + cell:
            raise ValueError("the saved state is not of one sequence")
    out += [struct.pack("<i", position) + cell for position in range(wanted)]
    transposed, layers = cells.number("I"), cells.number("I")
    out.append(struct.pack("<II", transposed, layers))
    for _ in range(layers):
        out += stretched_rows(cells, count, wanted)
    for _ in range(layers):
        out += (stretched_columns if transposed else stretched_rows)(cells, count, wanted)
    out.append(cells.take(tail))
    if cells.at != len(state):
        raise ValueError(f"{len(state) - cells.at} bytes of the saved state are left over")
    return bytearray().join(out)
