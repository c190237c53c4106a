"""Reads the pickle of a batch file without ever letting pickle build an object.

The opcodes of a batch (Python 2, protocol 2, and what Python 3 writes in their place) are few. They
are executed here on inert values: a global is only its name, a call is only a record of the call.
`batches.py` then checks the record and reads the pixels from it with `np.frombuffer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from mlpcli.errors import DataError

# The globals that a NumPy array of bytes needs, as NumPy 1 and NumPy 2 name them.
GLOBALS = {
    "numpy.core.multiarray _reconstruct": "reconstruct",
    "numpy._core.multiarray _reconstruct": "reconstruct",
    "numpy ndarray": "ndarray",
    "numpy.core.numeric _frombuffer": "frombuffer",
    "numpy._core.numeric _frombuffer": "frombuffer",
    "numpy dtype": "dtype",
    "_codecs encode": "encode",
}

MAX_OPCODES = 200_000  # an official batch has 30,098, one by Python 3 in protocol 2 up to 90,152
MAX_KEY = 100  # characters: a key may be set as often as there are opcodes
TRUNCATED = "it is truncated, or not a pickle"


@dataclass(frozen=True)
class Global:
    """The name of something importable; nothing is imported."""

    name: str


@dataclass
class Call:
    """A call that pickle would have made, and the state it would have set."""

    function: str
    arguments: tuple[Any, ...]
    state: Any = None


def read_pickle(data: bytes, path: Path) -> Any:
    """Return the pickle's value, of dict, list, tuple, str, bytes, int, bool, None, Global, Call.

    Short Python 2 strings come as str, in Latin-1; long ones and bytes come as views of `data`.
    Raises DataError, naming `path`, for anything that a CIFAR-10 batch does not hold.
    """
    try:
        return _Machine(data).run()
    except UnpicklingError as refused:
        raise DataError(f"{path}: not a CIFAR-10 batch: {refused}") from None
    except (ValueError, LookupError, TypeError):  # what truncated or hostile opcodes lead to
        raise DataError(f"{path}: not a CIFAR-10 batch: {TRUNCATED}") from None


_MARK = object()  # on the stack, where a run of items starts


class _Machine:
    """Opcodes by their byte, named as in Python's `pickletools`, most frequent first."""

    def __init__(self, data: bytes) -> None:
        self.data = memoryview(data)
        self.at = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.left_to_encode = len(data)

    def run(self) -> Any:
        for _ in range(MAX_OPCODES):
            if (opcode := self.byte()) == ord("."):  # STOP
                (value,) = self.stack
                return value
            self.execute(opcode)
        raise UnpicklingError(f"it has over {MAX_OPCODES:,} opcodes")

    def execute(self, opcode: int) -> None:  # noqa: PLR0912, PLR0915 - one case per opcode
        push, pop = self.stack.append, self.stack.pop
        match chr(opcode):
            case "K":  # BININT1
                push(self.byte())
            case "r":  # LONG_BINPUT
                self.memo[self.unsigned(4)] = self.stack[-1]
            case "U":  # SHORT_BINSTRING
                push(str(self.take(self.byte()), "latin-1"))
            case "q":  # BINPUT
                self.memo[self.byte()] = self.stack[-1]
            case "X":  # BINUNICODE
                push(str(self.take(self.unsigned(4)), "utf-8"))
            case "\x8c":  # SHORT_BINUNICODE
                push(str(self.take(self.byte()), "utf-8"))
            case "\x94":  # MEMOIZE
                self.memo[len(self.memo)] = self.stack[-1]
            case "T" | "B":  # BINSTRING, BINBYTES
                push(self.take(self.unsigned(4)))
            case "C":  # SHORT_BINBYTES
                push(self.take(self.byte()))
            case "\x96":  # BYTEARRAY8
                push(self.take(self.unsigned(8)))
            case "M":  # BININT2
                push(self.unsigned(2))
            case "J":  # BININT
                push(int.from_bytes(self.take(4), "little", signed=True))
            case "N":  # NONE
                push(None)
            case "\x88":  # NEWTRUE
                push(True)
            case "\x89":  # NEWFALSE
                push(False)
            case "(":  # MARK
                push(_MARK)
            case "}":  # EMPTY_DICT
                push({})
            case "]":  # EMPTY_LIST
                push([])
            case ")":  # EMPTY_TUPLE
                push(())
            case "\x85":  # TUPLE1
                push((pop(),))
            case "\x86":  # TUPLE2
                second, first = pop(), pop()
                push((first, second))
            case "\x87":  # TUPLE3
                third, second, first = pop(), pop(), pop()
                push((first, second, third))
            case "t":  # TUPLE
                push(tuple(self.pop_to_mark()))
            case "a":  # APPEND
                item = pop()
                self.top(list).append(item)
            case "e":  # APPENDS
                items = self.pop_to_mark()
                self.top(list).extend(items)
            case "s":  # SETITEM
                value, key = pop(), pop()
                self.set_items([key, value])
            case "u":  # SETITEMS
                self.set_items(self.pop_to_mark())
            case "h":  # BINGET
                push(self.memo[self.byte()])
            case "j":  # LONG_BINGET
                push(self.memo[self.unsigned(4)])
            case "c":  # GLOBAL
                self.push_global(self.line(), self.line())
            case "\x93":  # STACK_GLOBAL
                name, module = pop(), pop()
                self.push_global(module, name)
            case "R":  # REDUCE
                arguments, function = pop(), pop()
                if not isinstance(function, Global) or not isinstance(arguments, tuple):
                    raise UnpicklingError("it calls what is not a function")
                if function.name == "encode":
                    push(self.encoded(*arguments))
                else:
                    push(Call(function.name, arguments))
            case "b":  # BUILD
                state = pop()
                self.top(Call).state = state
            case "\x80":  # PROTO
                self.take(1)
            case "\x95":  # FRAME
                self.take(8)
            case _:
                raise UnpicklingError(f"it uses the pickle opcode {opcode:#04x}")

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]  # past the end: an IndexError, "truncated"

    def take(self, count: int) -> memoryview:
        start, self.at = self.at, self.at + count
        if self.at > len(self.data):
            raise UnpicklingError(TRUNCATED)
        return self.data[start : self.at]

    def unsigned(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def line(self) -> str:
        ahead = bytes(self.data[self.at : self.at + 100])
        return str(self.take(ahead.index(b"\n") + 1)[:-1], "ascii")

    def pop_to_mark(self) -> list[Any]:
        start = len(self.stack) - 1
        while self.stack[start] is not _MARK:
            start -= 1
            if start < 0:
                raise UnpicklingError(TRUNCATED)
        items = self.stack[start + 1 :]
        del self.stack[start:]
        return items

    def top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise UnpicklingError("its pickle is malformed")
        return self.stack[-1]

    def set_items(self, items: list[Any]) -> None:
        keys, values = items[::2], items[1::2]
        if not all(isinstance(key, (str, bytes, memoryview)) for key in keys):
            raise UnpicklingError("its keys are not strings")
        if any(len(key) > MAX_KEY for key in keys):
            raise UnpicklingError("its keys are too long")
        names = [key if isinstance(key, str) else str(key, "latin-1") for key in keys]
        self.top(dict).update(zip(names, values, strict=True))

    def push_global(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise UnpicklingError("it names what is not a name")
        if f"{module} {name}" not in GLOBALS:
            raise UnpicklingError(f"it names {f'{module}.{name}'[:MAX_KEY]!r}")
        self.stack.append(Global(GLOBALS[f"{module} {name}"]))

    def encoded(self, text: Any, encoding: Any) -> bytes:
        """Return bytes that protocol 2 of Python 3 has as text to be encoded, each text once."""
        if not isinstance(text, str) or encoding != "latin1":
            raise UnpicklingError("it encodes what is not text, or not in Latin-1")
        self.left_to_encode -= len(text)
        if self.left_to_encode < 0:
            raise UnpicklingError("it encodes the same text again and again")
        return text.encode("latin-1")
