"""Pickles of others, read as data: numbers, texts, lists, dicts and plain arrays, and no more.

A pickle is a program. Here it reaches no function or class of Python or numpy: the four names that
an array needs stand for classes of this file, and any other name is refused before it is used.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pdpipe.errors import DataError

_KINDS = "biuf"  # of an array's items: truth, whole numbers, fractions
_Array = NDArray[Any]


def load_pickle(content: bytes, name: str) -> Any:
    """What a pickle of Python 2 or 3 holds; texts of Python 2 are bytes.

    Args:
        content: the pickle.
        name: of the file, for the error.

    Raises:
        DataError: it is damaged, or asks for anything but plain values and arrays.
    """
    try:
        return _plain(_Unpickler(io.BytesIO(content), encoding="bytes").load())
    except DataError as error:
        raise DataError(f"{name} {error}") from None
    except Exception as error:  # pickle raises all kinds of things at damaged bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name} is damaged ({reason}): download it again") from None


class _DType:
    """Stands for `numpy.dtype` inside a pickle."""

    def __init__(self, spec: Any = None, *_: Any) -> None:
        text = spec.decode("ascii") if isinstance(spec, bytes) else spec
        if not isinstance(text, str) or text[:1] not in _KINDS or not text[1:].isdigit():
            raise DataError("holds arrays of other things than numbers: it is not used")
        self.spec = text

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        order = order.decode("ascii") if isinstance(order, bytes) else order
        if order not in ("<", ">", "|", "="):
            raise DataError("holds an array of an unknown byte order: it is not used")
        self.spec = order + self.spec


class _Array_:
    """Stands for `numpy.ndarray` inside a pickle; `_plain` makes an array of it."""

    value: _Array

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, by_columns, raw = state
        if not isinstance(dtype, _DType) or not isinstance(raw, bytes):
            raise DataError("holds arrays of other things than numbers: it is not used")
        kind = np.dtype(dtype.spec)
        if len(raw) != math.prod(shape) * kind.itemsize:
            raise DataError("is damaged (an array of another size than it says): download it again")
        flat: _Array = np.frombuffer(raw, kind)
        self.value = flat.reshape(tuple(map(int, shape)), order="F" if by_columns else "C")


def _reconstruct(*_: Any) -> _Array_:
    return _Array_()


def _encode(text: str, encoding: str) -> bytes:
    """Protocol 2 writes bytes as a text that is encoded again."""
    if encoding not in ("latin1", "latin-1"):
        raise DataError("is damaged (bytes of an unknown encoding): download it again")
    return text.encode("latin-1")


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array_,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise DataError(
                f"asks for {module}.{name}, which no data set needs: it may be made to run code, "
                "and nothing of it was run; download it from where it was published"
            ) from None


def _plain(value: Any) -> Any:
    """A value with arrays in place of what stands for them."""
    if isinstance(value, _Array_):
        return value.value
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    raise DataError("holds other things than numbers, texts and arrays: it is not used")
