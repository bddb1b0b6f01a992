"""Pickles of numpy arrays, lists, dictionaries and numbers, and of nothing else: no code of their author can run.

The pickle machine of the standard library in its Python form, with the few names that numpy's own pickles ask for
replaced by functions that look at their arguments. Its form in C takes memory for promises (a memo of 2^32 places).
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any, BinaryIO

import numpy as np
from numpy._core.multiarray import _reconstruct, scalar

from deeplense.data.decode.pixels import MAX_BYTES, BadImage

Python: Any = pickle._Unpickler


def load_pickle(file: BinaryIO) -> Any:
    """What the pickle at the place of `file` holds.

    Raises:
        BadImage: it asks for anything but arrays, or for too much.
        Exception: it is damaged; the machine raises anything.
    """
    content = file.read(MAX_BYTES + 1)  # a buffer gives what it has, a file takes memory for what it is asked for
    if len(content) > MAX_BYTES:
        raise BadImage(f"is a pickle of more than {MAX_BYTES >> 20} MiB: give one image")
    return _ArrayUnpickler(io.BytesIO(content)).load()


class _Array:
    """Stands for `numpy.ndarray` while it is no more than a name: nobody may call it with a shape."""


def _empty_array(kind: Any, shape: Any, typecode: Any) -> np.ndarray:
    if kind is not _Array or shape != (0,):
        raise BadImage("is a pickle of an unusual array: only numpy arrays are admitted")
    return np.asarray(_reconstruct(np.ndarray, (0,), b"b"))


def _dtype(name: Any, align: Any = False, copy: Any = True) -> np.dtype:
    if not isinstance(name, str) or len(name) > 8 or name[:1] not in "bBiufOSU?":
        raise BadImage("is a pickle of an unusual type: only numpy arrays of numbers are admitted")
    dtype = np.dtype(name, copy=True)
    if dtype.itemsize > 1024:
        raise BadImage("is a pickle of an unusual type: only numpy arrays of numbers are admitted")
    return dtype


def _scalar(dtype: Any, content: Any = None) -> Any:
    if not isinstance(dtype, np.dtype) or dtype.hasobject or not isinstance(content, bytes):
        raise BadImage("is a pickle of an unusual number: only numpy arrays are admitted")
    return scalar(dtype, content)


def _from_buffer(buffer: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> np.ndarray:
    """How protocol 5 writes arrays."""
    if (
        not isinstance(buffer, bytes)
        or not isinstance(dtype, np.dtype)
        or dtype.hasobject
        or order not in ("C", "F", "A")
    ):
        raise BadImage("is a pickle of an unusual array: only numpy arrays are admitted")
    _check_array_state((1, shape, dtype, False, buffer))
    if order == "A" and axes is not None:
        raise BadImage("is a pickle of an unusual array: only numpy arrays are admitted")
    array = np.frombuffer(buffer, dtype)
    return array.reshape(shape, order="F" if order == "F" else "C")


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """How old pickles write bytes: as text in Latin-1."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise BadImage("is a pickle with text in an unusual encoding: only numpy arrays are admitted")
    return text.encode("latin-1")


class _ArrayUnpickler(Python):
    _ADMITTED = {  # noqa: RUF012 - a constant
        ("multiarray", "_reconstruct"): _empty_array,
        ("multiarray", "scalar"): _scalar,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _dtype,
        ("numeric", "_frombuffer"): _from_buffer,
        ("_codecs", "encode"): _encode,
    }

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        place = module.removeprefix("numpy.core.").removeprefix("numpy._core.")  # numpy 1 and numpy 2
        known = module.split(".")[0] == "numpy" or module == "_codecs"
        if not known or (place, name) not in self._ADMITTED:
            raise BadImage(f"is a pickle that asks for {module}.{name}: only numpy arrays are admitted")
        return self._ADMITTED[place, name]

    def load_reduce(self) -> None:
        arguments, function = self.stack[-1], self.stack[-2]
        if function not in (_empty_array, _scalar, _dtype, _from_buffer, _encode) or not isinstance(arguments, tuple):
            raise BadImage("is a pickle that calls what it may not: only numpy arrays are admitted")
        del self.stack[-1]
        self.stack[-1] = function(*arguments)

    def load_build(self) -> None:
        """The contents of an array or the byte order of a type; looked at before numpy believes them."""
        state, built = self.stack.pop(), self.stack[-1]
        if isinstance(built, np.dtype):
            _check_dtype_state(built, state)
        elif isinstance(built, np.ndarray):
            _check_array_state(state)
        else:
            raise BadImage("is a pickle of objects: only numpy arrays are admitted")
        built.__setstate__(state)

    def load_bytes(self) -> None:
        """Bytes that could be written to, without memory for what is only promised."""
        length = int.from_bytes(self.read(8), "little")
        content = self.read(min(length, MAX_BYTES + 1))
        if len(content) != length:
            raise BadImage("is a pickle that promises more than it has")
        self.append(content)

    def refuse(self) -> None:
        raise BadImage("is a pickle of objects: only numpy arrays are admitted")

    dispatch = {  # noqa: RUF012
        **Python.dispatch,
        pickle.REDUCE[0]: load_reduce,
        pickle.BUILD[0]: load_build,
        pickle.BYTEARRAY8[0]: load_bytes,
        # What makes objects, or takes memory for a promise.
        **dict.fromkeys(
            [
                code[0]
                for code in (
                    pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4,
                    pickle.PERSID, pickle.BINPERSID, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER,
                )
            ],
            refuse,
        ),
    }  # fmt: skip


def _check_dtype_state(dtype: np.dtype, state: Any) -> None:
    plain = isinstance(state, tuple) and len(state) == 8 and state[2:5] == (None, None, None)
    if not plain or state[0] != 3 or state[1] not in ("<", ">", "|", "=") or state[5:7] != (-1, -1):
        text = plain and dtype.kind in "SU" and state[5] == dtype.itemsize
        if not text:
            raise BadImage("is a pickle of an unusual type: only numpy arrays of numbers are admitted")


def _check_array_state(state: Any) -> None:
    if not isinstance(state, tuple) or len(state) != 5:
        raise BadImage("is a pickle of a damaged array")
    _, shape, dtype, _, content = state
    sound = isinstance(shape, tuple) and all(isinstance(side, int) and side >= 0 for side in shape)
    if not sound or len(shape) > 8 or not isinstance(dtype, np.dtype) or not isinstance(content, bytes | str | list):
        raise BadImage("is a pickle of a damaged array")
    count = math.prod(shape)
    if count * dtype.itemsize > MAX_BYTES:
        raise BadImage(f"is a pickle of an array of shape {shape}, which is too large")
    if isinstance(content, str):
        content = content.encode("latin-1")
    if len(content) != count * (1 if dtype.hasobject else dtype.itemsize) or dtype.hasobject != isinstance(
        content, list
    ):
        raise BadImage("is a pickle of a damaged array")
