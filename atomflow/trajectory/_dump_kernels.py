"""Compiled reading of the atom lines of a LAMMPS dump; :func:`read_rows_reference` is the plain way to the same.

Numbers are made from their digits here. Up to 2^53 and ten to the 22nd that is one exact product or quotient (Clinger
1990, doi:10.1145/93542.93557); beyond, the product with a 128-bit power of ten decides the rounding (Lemire 2021,
doi:10.1002/spe.2984). What neither decides is handed back for Python's ``float``: every number is rounded as Python does.

No index can leave the buffer: the callers put 64 line feeds behind the text, a line begins only before ``stop``, every
inner loop stops at a line feed, and what looks ahead, eight bytes at a time, goes no further than 40 bytes.
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

#: What a column is read as. From 0 to 2 the components of a position, from 3 to 5 those of the image flags.
SKIP, ID = -1, -2
#: How reading ended.
DONE, BAD_NUMBER, SHORT_LINE, FEW_LINES, UNKNOWN_ID, REPEATED_ID, LONG_TEXT = range(7)

#: Powers of ten that doubles hold exactly, for the fast way.
_EXACT = np.array([float(10**k) for k in range(23)])
#: The same for the place where a number ends less that of its point.
_EXACT_FROM_POINT = np.array([1.0, *(float(10**k) for k in range(8))])
_LEAST, _MOST = -342, 308

U = np.uint64
_TENS = np.array([10**k for k in range(9)], dtype=np.uint64)


def _powers() -> np.ndarray:
    """128 leading bits of 10^q for q from -342 to 308: below one rounded up, otherwise cut; (651, 2) uint64."""
    table = np.empty((_MOST - _LEAST + 1, 2), dtype=np.uint64)
    for q in range(_LEAST, _MOST + 1):
        five = 5 ** abs(q)
        if q < 0:
            shift = five.bit_length() - (five & (five - 1) == 0) + 127
            bits = (1 << (shift + 128)) // five + 1
            bits >>= bits.bit_length() - 128
        else:
            bits = five << 128
            bits >>= bits.bit_length() - 128
        table[q - _LEAST] = bits >> 64, bits & (2**64 - 1)
    return table


_POWERS = _powers()


@njit(cache=True, nogil=True)
def _product(a, b):  # type: ignore[no-untyped-def]
    """Both halves of the 128-bit product."""
    low = U(0xFFFFFFFF)
    half = U(32)
    a1, a0, b1, b0 = a >> half, a & low, b >> half, b & low
    bottom = a0 * b0
    one = a1 * b0 + (bottom >> half)
    two = a0 * b1 + (one & low)
    return a1 * b1 + (one >> half) + (two >> half), a * b


@njit(cache=True, nogil=True)
def _rounded(w, q):  # type: ignore[no-untyped-def]
    """The double nearest to w 10^q, and whether that is certain; w is not zero."""
    if q < _LEAST or q > _MOST:
        return 0.0, False
    zeros = 0
    step = 32
    while step:
        if w >> U(64 - step) == U(0):
            w <<= U(step)
            zeros += step
        step >>= 1
    high, low = _product(w, _POWERS[q - _LEAST, 0])
    if high & U(0x1FF) == U(0x1FF):
        more, _rest = _product(w, _POWERS[q - _LEAST, 1])
        low += more
        if low < more:
            high += U(1)
    if low == U(0xFFFFFFFFFFFFFFFF) and (q < -27 or q > 55):
        return 0.0, False
    top = high >> U(63)
    m = high >> (top + U(9))
    power = ((217706 * q) >> 16) + 63 + np.int64(top) - zeros + 1023
    if power <= 0:
        return 0.0, False
    if low <= U(1) and -4 <= q <= 23 and (m & U(3)) == U(1) and (m << (top + U(9))) == high:
        m &= ~U(1)
    m += m & U(1)
    m >>= U(1)
    if m >= U(1 << 53):
        m = U(1 << 52)
        power += 1
    if power >= 0x7FF:
        return 0.0, False
    return math.ldexp(np.float64(np.int64(m)), power - 1075), True


@njit(cache=True, nogil=True)
def _long(text, at, exponent):  # type: ignore[no-untyped-def]
    """More than 19 digits, from ``at``: the first 19 that count, and one more in the last place, must round alike."""
    w = U(0)
    kept = 0
    p = at
    while True:
        d = U(text[U(p)]) - U(48)
        if d < U(10):
            if kept == 19:
                exponent += 1
            else:
                w = w * U(10) + d
                if w > U(0):
                    kept += 1
        elif text[U(p)] != 46:
            break
        p += 1
    if w == U(0):
        return 0.0, True
    value, certain = _rounded(w, exponent)
    if kept < 19 or not certain:
        return value, certain
    above, certain = _rounded(w + U(1), exponent)
    return value, certain and value == above


@njit(cache=True, nogil=True)
def _any_number(text, at):  # type: ignore[no-untyped-def]
    """Number whose text begins at ``at``: value, where it ends, 0 = read, 1 = Python must, 2 = no number."""
    p = at
    c = text[U(p)]
    negative = c == 45
    if negative or c == 43:
        p += 1
        c = text[U(p)]
    w = U(0)
    start = p
    d = U(c) - U(48)
    while d < U(10):
        w = w * U(10) + d
        p += 1
        d = U(text[U(p)]) - U(48)
    digits = p - start
    exponent = 0
    if text[U(p)] == 46:
        p += 1
        point = p
        d = U(text[U(p)]) - U(48)
        while d < U(10):
            w = w * U(10) + d
            p += 1
            d = U(text[U(p)]) - U(48)
        exponent = point - p
        digits += p - point
    c = text[U(p)]
    if digits == 0:
        a, b, c = text[U(p)] | 32, U(0), U(0)
        if p == start and (a == 105 or a == 110):
            b = U(text[U(p + 1)]) | U(32)
            if b > U(42):
                c = U(text[U(p + 2)]) | U(32)
        # nan, inf, -nan(ind), infinity
        if (a == 110 and b == U(97) and c == U(110)) or (a == 105 and b == U(110) and c == U(102)):
            after = text[U(p + 3)]
            if after <= 32 or after == 40 or (a == 105 and after | 32 == 105):
                while text[U(p)] > 32:
                    p += 1
                return np.nan, p, 0
        return 0.0, p, 2
    if c | 32 == 101:
        p += 1
        c = text[U(p)]
        down = c == 45
        if down or c == 43:
            p += 1
        first = p
        e = 0
        d = U(text[U(p)]) - U(48)
        while d < U(10):
            if e < 100000:
                e = 10 * e + np.int64(d)  # type: ignore[assignment]
            p += 1
            d = U(text[U(p)]) - U(48)
        if p == first:
            return 0.0, p, 2
        exponent += -e if down else e
        c = text[U(p)]
    if c > 32:
        return 0.0, p, 2
    if digits > 19:
        value, certain = _long(text, start, exponent)
        return -value if negative else value, p, 0 if certain else 1
    if w <= U(1 << 53) and -22 <= exponent <= 22:
        value = np.float64(np.int64(w))
        value = value / _EXACT[-exponent] if exponent < 0 else value * _EXACT[exponent]
    elif w == U(0):
        value = 0.0
    else:
        value, certain = _rounded(w, exponent)
        if not certain:
            return 0.0, p, 1
    return -value if negative else value, p, 0


@njit(cache=True, nogil=True)
def _integer(text, at):  # type: ignore[no-untyped-def]
    """Integer whose text begins at ``at``, and whether there is one of at most 18 digits."""
    p = at + (text[U(at)] == 45)
    start = p
    w = 0
    while U(text[U(p)]) - U(48) < U(10) and p - start < 19:
        w = 10 * w + np.int64(text[U(p)]) - 48  # type: ignore[assignment]
        p += 1
    return (-w if start > at else w), p > start and p - start < 19 and text[U(p)] <= 32


@njit(cache=True, nogil=True, forceinline=True)
def _joined(t):  # type: ignore[no-untyped-def]
    """Value of eight digits, the first lowest: neighbours are joined to pairs, pairs to fours, fours to the whole."""
    t = t * U(10) + (t >> U(8))
    upper = (t & U(0x000000FF000000FF)) * U(100 + (1000000 << 32))
    lower = ((t >> U(16)) & U(0x000000FF000000FF)) * U(1 + (10000 << 32))
    return ((upper + lower) >> U(32)) & U(0xFFFFFFFF)


@intrinsic
def _lowest_bit(typing, word):  # type: ignore[no-untyped-def]
    """Place of the lowest bit that is set; 64 if none is. One instruction, which numba has no name for."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


@njit(cache=True, nogil=True, forceinline=True)
def _others(t):  # type: ignore[no-untyped-def]
    """Top bits of the bytes above 9; behind the first they may be set wrongly, by a carry."""
    return ((t + U(0x7676767676767676)) | t) & U(0x8080808080808080)


@njit(cache=True, nogil=True, forceinline=True)
def _digits(word):  # type: ignore[no-untyped-def]
    """The digits that lead eight bytes (the first is the lowest): their value and how many; 8: there may be more."""
    t = word ^ U(0x3030303030303030)
    others = _others(t)
    if others == U(0):
        return _joined(t), 8
    bits = _lowest_bit(others) - U(7)
    if bits == U(0):
        return U(0), 0
    return _joined(t << (U(64) - bits)), np.int64(bits >> U(3))


@njit(cache=True, nogil=True, forceinline=True)
def _short(word):  # type: ignore[no-untyped-def]
    """Number with a point and white space behind it, all in eight bytes: its digits, how many behind the point, size.

    The size is 0 for anything else.
    """
    t = word ^ U(0x3030303030303030)
    others = _others(t)
    rest = others & (others - U(1))
    # In bits: where the point is, and where the number ends.
    point, end = _lowest_bit(others) - U(7), _lowest_bit(rest) - U(7)
    if rest == U(0) or end < U(16) or (word >> point) & U(255) != U(46) or (word >> end) & U(255) > U(32):
        return U(0), U(0), U(0)
    # Digits before the point take its place; all are brought to the top.
    before = others ^ (others - U(1))
    t = ((t << U(8)) & before) | (t & ~before)
    return _joined(t << (U(64) - end)), (end - point) >> U(3), end >> U(3)


def read_rows_reference(text: bytes, plan: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids (or none), the three numbers and the image flags of every line, the plain way: (n,), (n, 3), (n, 3)."""
    words = [line.split() for line in text.splitlines() if line.strip()]
    places = {code: column for column, code in enumerate(plan.tolist()) if code != SKIP}
    ids = [int(line[places[ID]]) for line in words if ID in places]
    flags = [[int(line[places[k]]) for k in (3, 4, 5)] for line in words if 3 in places]
    values = np.array([[float(line[places[k]]) for k in range(3)] for line in words])
    return np.array(ids), np.where(np.isfinite(values), values, np.nan), np.array(flags)


@njit(cache=True, nogil=True)
def read_ids(text, start, stop, column, ids):  # type: ignore[no-untyped-def]
    """The integers of one column into ``ids``; how it ended, line, where. ``text[stop]`` is a line feed."""
    p = start
    for line in range(len(ids)):
        if p >= stop:
            return FEW_LINES, line, p
        for _ in range(column + 1):
            while text[U(p)] <= 32 and text[U(p)] != 10:
                p += 1
            if text[U(p)] == 10:
                return SHORT_LINE, line, p
            begin = p
            while text[U(p)] > 32:
                p += 1
        value, good = _integer(text, begin)
        if not good:
            return BAD_NUMBER, line, begin
        ids[line] = value
        while text[U(p)] != 10:
            p += 1
        p += 1
    return DONE, len(ids), p


@njit(cache=True, nogil=True)
def read_lines(text, start, stop, plan, table, lowest, ids, wanted, line_of, values, flags, asked):  # type: ignore[no-untyped-def]
    """Numbers and image flags of every line of a frame, and which line each atom has.

    Lines are written in their order; :func:`arrange` brings them into that of the atoms. Memory is so touched at random
    in one small array only.

    Parameters
    ----------
    text : uint8 array
        ``text[stop]`` is a line feed, and 63 more behind it.
    plan : int array
        What each column is, up to the last that matters.
    table, lowest, ids : int32 array, int, int array
        Row of the atom ``lowest + k`` (or -1); where the table is empty, the row is the place in the sorted ``ids``.
        Both empty: no ids, rows are lines.
    wanted : bool array
        Rows to read; empty for all.
    line_of : (n,) int32 array
        Filled: line of every row.
    values, flags : (n, 3) float64 and int32 arrays
        Filled, for rows that are wanted; ``flags`` only if they are in the plan.
    asked : (3 n, 3) int array
        Filled with line, component and place of numbers that :func:`read_numbers` must read.

    Returns
    -------
    how, line, where, n_asked : int
        One of the endings above, the line and place where, rows used in ``asked``.
    """
    n = len(line_of)
    last = len(plan)
    n_asked = 0
    line_of[:] = -1
    p = start
    for line in range(n):
        if p >= stop:
            return FEW_LINES, line, p, n_asked
        out = True
        if len(ids) == 0:
            line_of[line] = line
            if len(wanted):
                out = wanted[line]
        for column in range(last):
            while text[U(p)] <= 32:
                if text[U(p)] == 10:
                    return SHORT_LINE, line, p, n_asked
                p += 1
            what = plan[U(column)]
            if what == SKIP or not (out or what == ID):
                while text[U(p)] > 32:
                    p += 1
                continue
            negative = text[U(p)] == 45
            q = p + negative
            word = U(0)
            for k in range(8):
                word |= U(text[U(q + k)]) << U(8 * k)
            if 0 <= what < 3:
                w, after, size = _short(word)
                if size:
                    w = (w ^ -U(negative)) + U(negative)
                    values[U(line), U(what)] = np.float64(np.int64(w)) / _EXACT_FROM_POINT[after]
                    p = q + np.int64(size)
                    continue
            w, digits = _digits(word)
            q += digits
            if 0 <= what < 3:
                # A point, up to 7 digits before it, up to 15 in all; others wait.
                usual = text[U(q)] == 46 and digits < 8
                q += 1
                word = U(0)
                for k in range(8):
                    word |= U(text[U(q + k)]) << U(8 * k)
                f, after = _digits(word)
                q += after
                w = w * _TENS[after] + f
                if after == 8:
                    word = U(0)
                    for k in range(8):
                        word |= U(text[U(q + k)]) << U(8 * k)
                    f, more = _digits(word)
                    q += more
                    w = w * _TENS[more] + f
                    after += more
                digits += after
                if usual and text[U(q)] <= 32 and 0 < digits <= 15:
                    value = np.float64(np.int64(w)) / _EXACT[after]
                    values[U(line), U(what)] = -value if negative else value
                    p = q
                else:
                    asked[n_asked, 0] = line
                    asked[n_asked, 1] = what
                    asked[n_asked, 2] = p
                    n_asked += 1
                    while text[U(p)] > 32:
                        p += 1
                continue
            if digits == 8:
                d = U(text[U(q)]) - U(48)
                while d < U(10):
                    w = w * U(10) + d
                    q += 1
                    digits += 1
                    d = U(text[U(q)]) - U(48)
            number = -np.int64(w) if negative else np.int64(w)
            if digits == 0 or digits > 18 or text[U(q)] > 32:
                return BAD_NUMBER, line, p, n_asked
            if what == ID:
                row = np.int64(-1)
                if len(table):
                    if lowest <= number < lowest + len(table):
                        row = np.int64(table[U(number - lowest)])
                else:
                    row = np.int64(np.searchsorted(ids, number))
                    if row >= n or ids[row] != number:
                        row = np.int64(-1)
                if row < 0:
                    return UNKNOWN_ID, line, p, n_asked
                if line_of[U(row)] >= 0:
                    return REPEATED_ID, line, p, n_asked
                line_of[U(row)] = line
                if len(wanted):
                    out = wanted[U(row)]
            elif number > 2147483647 or number < -2147483648:
                return BAD_NUMBER, line, p, n_asked
            else:
                flags[U(line), U(what - 3)] = number
            p = q
        while text[U(p)] != 10:
            p += 1
        p += 1
    while p < stop:
        if text[U(p)] > 32:
            return LONG_TEXT, n, p, n_asked
        p += 1
    return DONE, n, p, n_asked


@njit(cache=True, nogil=True)
def read_numbers(text, asked, n_asked, values):  # type: ignore[no-untyped-def]
    """Numbers of any look; those that Python must read are moved to the front of ``asked``.

    They are apart because a call within the loop over lines, even one that is never made, costs a quarter of its time.

    Returns
    -------
    how, line, where, n_asked : int
        As of :func:`read_lines`.
    """
    left = 0
    for k in range(n_asked):
        line, what, at = asked[k, 0], asked[k, 1], asked[k, 2]
        value, _end, how = _any_number(text, at)
        if how == 2:
            return BAD_NUMBER, line, at, left
        values[line, what] = value
        if how == 1:
            asked[left, 0], asked[left, 1], asked[left, 2] = line, what, at
            left += 1
    return DONE, 0, 0, left


@njit(cache=True, nogil=True)
def arrange(line_of, rows, values, flags, shift, matrix, scaled, positions, images):  # type: ignore[no-untyped-def]
    """Positions and image flags of ``rows``, in this order, from those of the lines.

    A position is ``(value - shift) * matrix[0, 0]``, or ``value @ matrix - shift`` when scaled; ``images`` is empty when
    there are none.
    """
    factor = matrix[0, 0]
    for i in range(len(rows)):
        line = U(line_of[rows[i]])
        x, y, z = values[line, 0], values[line, 1], values[line, 2]
        if scaled:
            for k in range(3):
                positions[i, k] = x * matrix[0, k] + y * matrix[1, k] + z * matrix[2, k] - shift[k]
        else:
            positions[i, 0] = (x - shift[0]) * factor
            positions[i, 1] = (y - shift[1]) * factor
            positions[i, 2] = (z - shift[2]) * factor
        if len(images):
            for k in range(3):
                images[i, k] = flags[line, k]
