"""Hostile batch files, each by its name: opcodes put together by hand, and a few by `pickle`."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable

import numpy as np

MIB = 2**20
MINUS_ONE = b"J\xff\xff\xff\xff"


def text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def content(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def dtype(name: str = "u1", state: bytes = b"NNN" + 2 * MINUS_ONE + b"K\0") -> bytes:
    return b"cnumpy\ndtype\n" + text(name) + b"\x89\x88\x87R(K\3" + text("|") + state + b"tb"


def array(
    shape: bytes = b"K\2M\0\x0c\x86",
    kind: bytes = dtype(),
    by_column: bytes = b"\x89",
    pixels: bytes = content(bytes(2 * 3072)),
) -> bytes:
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\1b\x87R"
    return made + b"(K\1" + shape + kind + by_column + pixels + b"tb"


def batch(data: bytes = array(), labels: bytes = b"](K\0K\1e", more: bytes = b"") -> bytes:
    """A batch of two black images, of the classes 0 and 1, or what is put in its place."""
    return b"\x80\2}(" + text("data") + data + text("labels") + labels + more + b"u."


def meta(names: bytes = b"](X\1\0\0\0aX\1\0\0\0be", rows: bytes = b"K\2") -> bytes:
    """A batches.meta of two classes, or what is put in its place."""
    return b"\x80\2}(" + text("label_names") + names + text("num_cases_per_batch") + rows + b"u."


def frombuffer(shape: bytes, pixels: bytes, order: str) -> bytes:
    """An array as protocol 5 has it."""
    arguments = b"(" + pixels + dtype() + shape + text(order) + b"tR"
    return b"cnumpy.core.numeric\n_frombuffer\n" + arguments


def _map(command: str) -> bytes:
    """An iterator that runs a command when something takes its items."""
    return b"cbuiltins\nmap\ncos\nsystem\n](" + text(command) + b"e\x86\x81"


def _doubled(levels: int) -> bytes:
    """A list of a list twice, of a list twice, and so on: 2 ** levels in all."""
    return b"](]q\0" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(levels)) + b"e"


def _opened_out_of_band() -> bytes:
    return pickle.dumps({"data": np.zeros((2, 3072), np.uint8)}, 5, buffer_callback=lambda _: None)


# Each takes a shell command; were they unpickled, it would be run.
RUNNING: dict[str, Callable[[str], bytes]] = {
    "os.system by GLOBAL": lambda run: b"cos\nsystem\n" + text(run) + b"\x85R.",
    "os.system by STACK_GLOBAL": (
        lambda run: b"\x80\4" + text("os") + text("system") + b"\x93" + text(run) + b"\x85R."
    ),
    "os.system by INST": lambda run: b"(" + text(run) + b"ios\nsystem\n.",
    "os.system by OBJ": lambda run: b"(cos\nsystem\n" + text(run) + b"o.",
    "a map of os.system by NEWOBJ": lambda run: b"cbuiltins\nbytes\n" + _map(run) + b"\x85\x81.",
    "a map of os.system by NEWOBJ_EX": (
        lambda run: b"cbuiltins\nbytes\n" + _map(run) + b"\x85}\x92."
    ),
    "os.system by EXT1": lambda run: b"\x82\xf0" + text(run) + b"\x85R.",
    "os.system by EXT4": lambda run: b"\x84\xf0\0\0\0" + text(run) + b"\x85R.",
    "eval by GLOBAL": (
        lambda run: b"cbuiltins\neval\n" + text(f"__import__('os').system({run!r})") + b"\x85R."
    ),
    "os.system beside a valid batch": (
        lambda run: batch(more=text("more") + b"cos\nsystem\n" + text(run) + b"\x85R")
    ),
    "os.system popped again": lambda run: b"cos\nsystem\n" + text(run) + b"\x85R0" + batch(),
    "a function of a module named as its attribute": (
        lambda run: b"\x80\4" + text("shutil") + text("os.system") + b"\x93" + text(run) + b"\x85R."
    ),
}

REFUSED: dict[str, Callable[[], bytes]] = {
    # What is called, and with what.
    "a persistent id": lambda: b"P../../etc/passwd\n.",
    "a binary persistent id": lambda: text("../../etc/passwd") + b"Q.",
    "_reconstruct of a memory map": lambda: batch(
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nmemmap\nK\0\x85C\1b\x87R"
    ),
    "_reconstruct of a name": lambda: batch(array().replace(b"cnumpy\nndarray\n", text("ndarray"))),
    "ndarray called": lambda: batch(b"cnumpy\nndarray\n" + b"K\2M\0\x0c\x86\x85R"),
    "encode with rot13": lambda: b"c_codecs\nencode\n" + text("x") + text("rot13") + b"\x86R.",
    "encode with a slow codec": lambda: (
        b"c_codecs\nencode\n" + text("é" * MIB) + text("punycode") + b"\x86R."
    ),
    "encode of a number": lambda: b"c_codecs\nencode\nK\1" + text("latin1") + b"\x86R.",
    "encode of nothing": lambda: b"c_codecs\nencode\n)R.",
    "encode with nested tuples": lambda: (
        b"c_codecs\nencode\n" + text("x") + b")" + b"\x85" * 90_000 + b"\x86R."
    ),
    "a call of a string": lambda: text("os.system") + b")R.",
    "a call with a list": lambda: b"cnumpy\ndtype\n]R.",
    "BUILD on a dictionary": lambda: batch(b"}}b"),
    "BUILD on a function": lambda: batch(b"cnumpy\nndarray\n}b"),
    "BUILD on an array of protocol 5": lambda: batch(
        frombuffer(b"K\2M\0\x0c\x86", content(bytes(6144)), "C") + b"}b"
    ),
    "a name of 16 MiB": lambda: text("os") + text("x" * 16 * MIB) + b"\x93.",
    "a name that is a list in itself": lambda: b"]q\0h\0a" + text("x") + b"\x93.",
    "a name of nested tuples": lambda: text("os") + b")" + b"\x85" * 90_000 + b"\x93.",
    "a name of two lines and a bell": lambda: text("os\nerror:\x07") + text("x") + b"\x93.",
    # Arrays that would reach beyond their bytes.
    "objects over raw bytes": lambda: batch(array(kind=dtype("O8"), pixels=content(b"A" * 49152))),
    "a structure with an offset out of range": lambda: batch(
        array(
            kind=dtype(
                "V8",
                b"N" + text("a") + b"\x85}" + text("a") + dtype() + b"J\0\0\0\x7f\x86s"
                b"K\x08K\1K\x10",
            )
        )
    ),
    "u1 with the state of a structure": lambda: batch(
        array(kind=dtype("u1", b"N" + text("a") + b"\x85}K\x08K\1K\x10"))
    ),
    "rows True": lambda: batch(
        array(b"\x88M\0\x0c\x86", pixels=content(bytes(3072))), labels=b"](K\0e"
    ),
    "no rows": lambda: batch(array(b"K\0M\0\x0c\x86", pixels=content(b"")), labels=b"]"),
    "negative rows": lambda: batch(array(MINUS_ONE + b"M\0\x0c\x86")),
    "rows times pixels over 32 bits": lambda: batch(array(b"J\0\0\x20\0M\0\x0c\x86")),
    "more rows than bytes": lambda: batch(array(b"M\x10\x27M\0\x0c\x86")),
    "a shape of three": lambda: batch(array(b"K\2M\0\x0cK\1\x87")),
    "a shape in a list": lambda: batch(array(b"](K\2M\0\x04e")),
    "a Fortran flag that is a number": lambda: batch(array(by_column=b"K\1")),
    "a Fortran flag that is a string": lambda: batch(array(by_column=text("F"))),
    "an order of A in protocol 5": lambda: batch(
        frombuffer(b"K\2M\0\x0c\x86", content(bytes(6144)), "A")
    ),
    "pixels in a list": lambda: batch(array(pixels=b"]" + b"K\0a" * 6144)),
    "pixels as text": lambda: batch(array(pixels=text("a" * 6144))),
    "an array of an array": lambda: batch(array(pixels=array())),
    # Lengths.
    "a string of negative length": lambda: b"T\xff\xff\xff\xff.",
    "four GiB of text": lambda: b"X\xff\xff\xff\xffx.",
    "exabytes of a bytearray": lambda: b"\x96" + b"\xff" * 8 + b"x.",
    "exabytes of bytes": lambda: b"\x8e" + b"\xff" * 7 + b"\x7fx.",
    "a frame of exabytes": lambda: b"\x80\4\x95" + b"\xff" * 8 + b"N.",
    "an integer of two GiB": lambda: b"\x8b\xff\xff\xff\x7f\1.",
    "a decimal number of 32 MiB": lambda: b"I" + b"9" * 32 * MIB + b"\n.",
    "a decimal fraction of 60 MiB": lambda: b"F" + b"\xff" * 60 * MIB + b"\n.",
    "a line that never ends": lambda: b"c" + b"x" * 32 * MIB,
    "a memo far away": lambda: b"Nr\xff\xff\xff\xffj\xfe\xff\xff\xff.",
    # Structures without an end.
    "labels that hold themselves": lambda: batch(labels=b"]q\0h\0a"),
    "a batch that is its own data": lambda: (
        b"\x80\2}q\0(" + text("data") + b"h\0" + text("labels") + b"h\0u."
    ),
    "a call that is its own state": lambda: batch(b"cnumpy\ndtype\n)Rq\0h\0b"),
    "a call that is its own argument": lambda: batch(
        b"cnumpy\ndtype\n]q\0\x85Rq\1", labels=b"h\0h\1a"
    ),
    "labels doubled 100 times": lambda: batch(labels=_doubled(100)),
    "500,000 nested tuples": lambda: b")" + b"\x85" * 500_000 + b".",
    "nested tuples within the limit": lambda: batch(labels=b")" + b"\x85" * 150_000),
    "nested lists within the limit": lambda: batch(labels=b"]" * 90_000 + b"a" * 89_999),
    "nested calls within the limit": lambda: batch(
        b"cnumpy\ndtype\nq\0" + b"h\0" * 50_000 + b")R" + b"\x85R" * 50_000
    ),
    "nested states within the limit": lambda: batch(b"cnumpy\ndtype\n)R" * 45_000 + b"b" * 44_999),
    # Bombs.
    "32 MiB of dictionaries": lambda: b"}" * 32 * MIB,
    "32 MiB of lists": lambda: b"]" * 32 * MIB,
    "32 MiB of marks": lambda: b"(" * 32 * MIB,
    "64 MiB of protocols": lambda: b"\x80\2" * 32 * MIB,
    "32 MiB in the memo": lambda: b"N" + b"\x94" * 32 * MIB,
    "more than a batch may have": lambda: b"}" * 65 * MIB,
    "16 MiB encoded again and again": lambda: (
        b"c_codecs\nencode\nq\0"
        + text("x" * 16 * MIB)
        + text("latin1")
        + b"\x86q\1"
        + b"h\0h\1R" * 60_000
        + b"."
    ),
    "a key of 32 MiB set again and again": lambda: (
        content(b"k" * 32 * MIB) + b"q\0}" + b"h\0Ns" * 60_000 + b"."
    ),
    "a key of 16 MiB hashed again and again": lambda: (
        text("k" * 16 * MIB) + b"q\0}(" + b"h\0N" * 90_000 + b"u."
    ),
    "60 MiB of text made four times as wide": lambda: text("a" * 60 * MIB + "\U0001f40d") + b".",
    "keys of the memo that collide": lambda: (
        b"N" + b"".join(b"r" + struct.pack("<I", i << 16) for i in range(65_536)) + b"."
    ),
    # What only looks like a batch.
    "buffers out of band": _opened_out_of_band,
    "NEXT_BUFFER": lambda: batch(b"\x97"),
    "READONLY_BUFFER": lambda: batch(b"\x97\x98"),
    "a set and a frozen set": lambda: batch(labels=b"\x8f(K\0K\1\x90"),
    "labels True and False": lambda: batch(labels=b"](\x88\x89e"),
    "labels in bytes": lambda: batch(labels=content(b"\0\1")),
    "a label of 2 ** 31": lambda: batch(labels=b"](K\0J\0\0\0\x80e"),
    "labels by thousands": lambda: batch(labels=b"](" + b"K\0" * 150_000 + b"e"),
    "keys that are tuples": lambda: b"\x80\2}()K\1u.",
    "a key without a value": lambda: b"\x80\2}(" + text("data") + b"u.",
    "items of no dictionary": lambda: b"\x80\2N" + text("data") + b"Ns.",
    "a mark as labels": lambda: b"(" + batch(labels=b"(") + b".",
    "two values": lambda: b"\x80\2" + batch()[2:-1] * 2 + b".",
    "an end at once": lambda: b".",
    "nothing": lambda: b"",
    "protocol 0": lambda: pickle.dumps({"data": [0], "labels": [0]}, 0),
}

REFUSED_META: dict[str, Callable[[], bytes]] = {
    "names that hold themselves": lambda: meta(b"]q\0h\0a"),
    "names of 50 KiB, 256 times": lambda: meta(
        b"](" + text("x" * 50_000) + b"q\0" + b"h\0" * 255 + b"e"
    ),
    "a name that moves the cursor": lambda: meta(b"](" + text("a") + text("\x1b[2J") + b"e"),
    "a batch of True rows": lambda: meta(rows=b"\x88"),
    "a batch of 2 ** 31 rows": lambda: meta(rows=b"J\xff\xff\xff\x7f"),
    "64 KiB of lists": lambda: b"]" * 2**16,
}
