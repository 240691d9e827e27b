"""The compressed coordinates of an xtc frame, unpacked with every bound checked.

The C decoder that MDAnalysis ships trusts the file: a damaged frame makes it write behind its buffers. The format is
that of GROMACS' xdrfile library (Lindahl, Hess, van der Spoel, J. Mol. Model. 7, 306 (2001),
doi 10.1007/s008940100045): coordinates as integers; an atom in full, then up to eight near ones as small differences.
"""

from __future__ import annotations

import numpy as np
from numba import njit

#: Ranges of the small differences, by index; each third one doubles. Constants of the format, its odd ones included.
SMALL_RANGES = np.array(
    [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 10, 12, 16, 20, 25, 32, 40, 50, 64, 80, 101, 128, 161, 203, 256, 322, 406, 512,
        645, 812, 1024, 1290, 1625, 2048, 2580, 3250, 4096, 5060, 6501, 8192, 10321, 13003, 16384, 20642, 26007, 32768,
        41285, 52015, 65536, 82570, 104031, 131072, 165140, 208063, 262144, 330280, 416127, 524287, 660561, 832255,
        1048576, 1321122, 1664510, 2097152, 2642245, 3329021, 4194304, 5284491, 6658042, 8388607, 10568983, 13316085,
        16777216,
    ],
    dtype=np.int64,
)  # fmt: skip
FIRST_INDEX = 9
#: Zero bytes that must follow the packed data, so that a word can be loaded at its end.
MARGIN = 16


@njit(cache=True, nogil=True, inline="always")
def _word(data, bit):  # type: ignore[no-untyped-def]
    """The 56 bits from ``bit`` on, as a uint64 (first bit highest)."""
    # Unsigned: a signed index is tested for being negative, eight times.
    at = np.uint64(bit >> 3)
    # One load and a byte swap, once compiled.
    word = (
        (np.uint64(data[at]) << np.uint64(56))
        | (np.uint64(data[at + np.uint64(1)]) << np.uint64(48))
        | (np.uint64(data[at + np.uint64(2)]) << np.uint64(40))
        | (np.uint64(data[at + np.uint64(3)]) << np.uint64(32))
        | (np.uint64(data[at + np.uint64(4)]) << np.uint64(24))
        | (np.uint64(data[at + np.uint64(5)]) << np.uint64(16))
        | (np.uint64(data[at + np.uint64(6)]) << np.uint64(8))
        | np.uint64(data[at + np.uint64(7)])
    )
    return (word << np.uint64(bit & 7)) >> np.uint64(8)


@njit(cache=True, nogil=True, inline="always")
def _lowest_first(word, bits):  # type: ignore[no-untyped-def]
    """The number of ``bits`` bits that a word of 56 begins with, whose bytes come lowest first."""
    rest = bits & 7
    whole = bits - rest
    bytes_swapped = word << np.uint64(8)
    bytes_swapped = ((bytes_swapped >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF)) | (
        (bytes_swapped & np.uint64(0x00FF00FF00FF00FF)) << np.uint64(8)
    )
    bytes_swapped = ((bytes_swapped >> np.uint64(16)) & np.uint64(0x0000FFFF0000FFFF)) | (
        (bytes_swapped & np.uint64(0x0000FFFF0000FFFF)) << np.uint64(16)
    )
    bytes_swapped = (bytes_swapped >> np.uint64(32)) | (bytes_swapped << np.uint64(32))
    value = bytes_swapped & ((np.uint64(1) << np.uint64(whole)) - np.uint64(1))
    last = (word >> np.uint64(56 - bits)) & ((np.uint64(1) << np.uint64(rest)) - np.uint64(1))
    return np.int64(value | (last << np.uint64(whole)))


@njit(cache=True, nogil=True, inline="always")
def _divided(value, size, inverse):  # type: ignore[no-untyped-def]
    """Whole part of ``value / size`` for values below 2**56, by a multiplication that may be one off."""
    left = np.int64(np.float64(value) * inverse)
    rest = value - left * size
    while rest < 0:
        left -= 1
        rest += size
    while rest >= size:
        left += 1
        rest -= size
    return left


@njit(cache=True, nogil=True)
def _wide_triple(data, bit, bits, size_1, size_2):  # type: ignore[no-untyped-def]
    """As :func:`_triple`, for numbers of more than 56 bits: long division, byte by byte."""
    digits = np.zeros(10, np.int64)
    count = (bits + 7) >> 3
    for k in range(count):
        many = min(8, bits - 8 * k)
        digits[k] = np.int64(_word(data, bit + 8 * k) >> np.uint64(56 - many))
    third = _digit(digits, count, size_2)
    second = _digit(digits, count, size_1)
    return digits[0] | (digits[1] << 8) | (digits[2] << 16) | (digits[3] << 24), second, third


@njit(cache=True, nogil=True)
def _digit(digits, count, size):  # type: ignore[no-untyped-def]
    """Divide a number of ``count`` bytes by ``size`` in place; what is left over."""
    left = np.int64(0)
    for k in range(count - 1, -1, -1):
        left = (left << 8) | digits[k]
        digits[k] = left // size
        left -= digits[k] * size
    return left


@njit(cache=True, nogil=True, inline="always")
def _triple(data, bit, bits, size_1, size_2, inverse_1, inverse_2):  # type: ignore[no-untyped-def]
    """Three integers, packed into one number of ``bits`` bits, its lowest byte first; the sizes are those of the last two."""
    if bits <= 56:
        value = _lowest_first(_word(data, bit), bits)
        left = _divided(value, size_2, inverse_2)
        third = value - left * size_2
        first = _divided(left, size_1, inverse_1)
        return first, left - first * size_1, third
    return _wide_triple(data, bit, bits, size_1, size_2)


@njit(cache=True, nogil=True)
def unpack(data, n_bytes, low, sizes, bits, widths, index, scale, ranges, positions):  # type: ignore[no-untyped-def]
    """Fill ``positions``; False when the data do not make sense.

    Parameters
    ----------
    data : (n_bytes + MARGIN,) uint8 array
    low, sizes : (3,) int64 arrays
        Smallest integer and number of integers per axis.
    bits : int
        Bits of a full atom, 0 when each axis is packed by itself with ``widths`` bits.
    index : int
        Place in ``ranges`` of the first small range.
    scale : float
        What an integer is in angstrom.
    positions : (n_atoms, 3) float32 array
    """
    n_atoms = positions.shape[0]
    last = n_bytes * 8
    low_0, low_1, low_2 = low[0], low[1], low[2]
    size_1, size_2 = sizes[1], sizes[2]
    inverse_1, inverse_2 = 1.0 / size_1, 1.0 / size_2
    small = ranges[index]
    small_inverse = 1.0 / small
    half = small // 2
    smaller = ranges[max(FIRST_INDEX, index - 1)] // 2
    per_atom = bits if bits else widths[0] + widths[1] + widths[2]
    bit = np.int64(0)
    run = np.int64(0)
    atom = np.int64(0)
    while atom < n_atoms:
        if bit + per_atom + 1 > last:
            return False
        if bits:
            x, y, z = _triple(data, bit, bits, size_1, size_2, inverse_1, inverse_2)
        else:
            x = np.int64(_word(data, bit) >> np.uint64(56 - widths[0]))
            y = np.int64(_word(data, bit + widths[0]) >> np.uint64(56 - widths[1]))
            z = np.int64(_word(data, bit + widths[0] + widths[1]) >> np.uint64(56 - widths[2]))
        bit += per_atom
        x += low_0
        y += low_1
        z += low_2
        change = np.int64(0)
        head = np.int64(_word(data, bit) >> np.uint64(50))
        bit += 1
        if head & 32:
            if bit + 5 > last:
                return False
            run = head & 31
            bit += 5
            change = run % 3
            run -= change
            change -= 1
        many = run // 3
        if atom + 1 + many > n_atoms or bit + many * index > last:
            return False
        if many == 0:
            positions[atom, 0] = x * scale
            positions[atom, 1] = y * scale
            positions[atom, 2] = z * scale
            atom += 1
        else:
            # The first of a run was swapped with the atom in full: the oxygen of a water molecule.
            positions[atom + 1, 0] = x * scale
            positions[atom + 1, 1] = y * scale
            positions[atom + 1, 2] = z * scale
            for k in range(many):
                dx, dy, dz = _triple(data, bit, index, small, small, small_inverse, small_inverse)
                bit += index
                x += dx - half
                y += dy - half
                z += dz - half
                place = atom if k == 0 else atom + k + 1
                positions[place, 0] = x * scale
                positions[place, 1] = y * scale
                positions[place, 2] = z * scale
            atom += many + 1
        index += change
        if change:
            if index < FIRST_INDEX or index >= len(ranges):
                # An honest frame may end with an index that nothing follows.
                return atom == n_atoms
            if change < 0:
                half = smaller
                smaller = ranges[index - 1] // 2 if index > FIRST_INDEX else 0
            else:
                smaller = half
                half = ranges[index] // 2
            small = ranges[index]
            small_inverse = 1.0 / small
    return True
