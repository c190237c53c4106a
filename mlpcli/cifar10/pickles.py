"""Reads the pickle of a batch file without ever letting pickle build an object.

The opcodes of a batch (Python 2, protocol 2, and what Python 3 writes in their place) are few.
`pickletools` parses them, and they are executed here on inert values: a global is only its name, a
call is only a record of the call. `batches.py` then checks the record and reads the pixels from it
with `np.frombuffer`.
"""

from __future__ import annotations

import io
import itertools
import pickletools
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from mlpcli.errors import DataError

# The globals that a NumPy array of bytes needs, as NumPy 1 and NumPy 2 name them.
GLOBALS = {
    "numpy.core.multiarray._reconstruct": "reconstruct",
    "numpy._core.multiarray._reconstruct": "reconstruct",
    "numpy.ndarray": "ndarray",
    "numpy.core.numeric._frombuffer": "frombuffer",
    "numpy._core.numeric._frombuffer": "frombuffer",
    "numpy.dtype": "dtype",
    "_codecs.encode": "encode",
}

MAX_OPCODES = 200_000  # an official batch has 30,098, one by Python 3 in protocol 2 up to 90,152
MAX_KEY = 100  # characters, of a global too: a key may be set as often as there are opcodes


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

    Short Python 2 strings come as str, in Latin-1, and long ones as bytes. Raises DataError, naming
    `path`, for anything that a CIFAR-10 batch does not hold.
    """
    try:
        return _Machine(data).run()
    except UnpicklingError as error:
        raise DataError(f"{path}: not a CIFAR-10 batch: {error}") from None
    except (ValueError, LookupError, TypeError, Warning):  # from truncated or hostile opcodes
        reason = "it is truncated, or not a pickle"
        raise DataError(f"{path}: not a CIFAR-10 batch: {reason}") from None


class _ShortLines(io.BytesIO):
    """Cuts what `pickletools` reads as a line: it would parse a number of 64 MiB, for example."""

    def readline(self, size: int | None = -1) -> bytes:
        return super().readline(MAX_KEY)


class _Machine:
    """Executes opcodes, named as in Python's `pickletools`, most frequent first."""

    def __init__(self, data: bytes) -> None:
        self.opcodes = pickletools.genops(_ShortLines(data))
        self.stack: list[Any] = []  # of the values since the last MARK
        self.below: list[list[Any]] = []  # the stacks before each MARK
        self.memo: dict[int, Any] = {}
        self.left_to_encode = len(data)

    def run(self) -> Any:
        for opcode, argument, _ in itertools.islice(self.opcodes, MAX_OPCODES):
            if opcode.name == "STOP":
                (value,) = self.stack
                return value
            self.execute(opcode, argument)
        raise UnpicklingError(f"it has over {MAX_OPCODES:,} opcodes")

    def execute(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:  # noqa: PLR0912, PLR0915
        push, pop = self.stack.append, self.stack.pop
        match opcode.name:
            case "BININT1" | "BININT2" | "BININT" | "SHORT_BINSTRING":
                push(argument)
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BINBYTES" | "SHORT_BINBYTES" | "BYTEARRAY8":
                push(argument)
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            case "BINGET" | "LONG_BINGET":
                push(self.memo[argument])
            case "BINSTRING":
                push(argument.encode("latin-1"))
            case "NONE":
                push(None)
            case "NEWTRUE" | "NEWFALSE":
                push(opcode.name == "NEWTRUE")
            case "MARK":
                self.below.append(self.stack)
                self.stack = []
            case "EMPTY_DICT":
                push({})
            case "EMPTY_LIST":
                push([])
            case "EMPTY_TUPLE":
                push(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                items = [pop() for _ in range(int(opcode.name[-1]))]
                push(tuple(reversed(items)))
            case "TUPLE":
                items = self.pop_to_mark()
                self.stack.append(tuple(items))
            case "APPEND":
                item = pop()
                self.top(list).append(item)
            case "APPENDS":
                items = self.pop_to_mark()
                self.top(list).extend(items)
            case "SETITEM":
                value, key = pop(), pop()
                self.set_items([key, value])
            case "SETITEMS":
                self.set_items(self.pop_to_mark())
            case "GLOBAL":
                push(_global(argument.replace(" ", ".")))
            case "STACK_GLOBAL":
                name, module = pop(), pop()
                if not isinstance(module, str) or not isinstance(name, str):
                    raise UnpicklingError("it names what is not a name")
                push(_global(f"{module}.{name}"))
            case "REDUCE":
                arguments, function = pop(), pop()
                if not isinstance(function, Global) or not isinstance(arguments, tuple):
                    raise UnpicklingError("it calls what is not a function")
                if function.name == "encode":
                    push(self.encoded(*arguments))
                else:
                    push(Call(function.name, arguments))
            case "BUILD":
                state = pop()
                self.top(Call).state = state
            case "PROTO" | "FRAME":
                pass
            case _:
                raise UnpicklingError(f"it uses the pickle opcode {ord(opcode.code):#04x}")

    def pop_to_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise UnpicklingError("its pickle is malformed")
        return self.stack[-1]

    def set_items(self, items: list[Any]) -> None:
        keys, values = items[::2], items[1::2]
        if not all(isinstance(key, (str, bytes)) for key in keys):
            raise UnpicklingError("its keys are not strings")
        if any(len(key) > MAX_KEY for key in keys):
            raise UnpicklingError("its keys are too long")
        names = [key if isinstance(key, str) else str(key, "latin-1") for key in keys]
        self.top(dict).update(zip(names, values, strict=True))

    def encoded(self, text: Any, encoding: Any) -> bytes:
        """Return bytes that protocol 2 of Python 3 has as text to be encoded, each text once."""
        if not isinstance(text, str) or encoding != "latin1":
            raise UnpicklingError("it encodes what is not text, or not in Latin-1")
        self.left_to_encode -= len(text)
        if self.left_to_encode < 0:
            raise UnpicklingError("it encodes the same text again and again")
        return text.encode("latin-1")


def _global(name: str) -> Global:
    if name not in GLOBALS:
        raise UnpicklingError(f"it names {name[:MAX_KEY]!r}")
    return Global(GLOBALS[name])
