"""Thrift's compact protocol, as much of it as the headers of Parquet files need: numbers, texts, lists, structures.

The Parquet library ends the process where a damaged footer lacks a part; here that is an error.
"""

from __future__ import annotations

DEEPEST = 16  # structures within structures
TRUE, FALSE, BYTE, DOUBLE, TEXT, LIST, SET, MAP, STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
NUMBERS = (4, 5, 6)  # of 16, 32 and 64 bits


class Compact:
    """Reads values one after the other; ValueError where the bytes are none."""

    def __init__(self, content: bytes):
        self.content, self.at = content, 0

    def structure(self, depth: int = 0) -> dict[int, object]:
        """Return {field number: value}."""
        if depth > DEEPEST:
            raise ValueError("nested too deeply")
        fields, number = {}, 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._number()
            kind = head & 15
            fields[number] = kind == TRUE if kind in (TRUE, FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> object:
        if kind in NUMBERS:
            return self._number()
        if kind == TEXT:
            return self._bytes(self._unsigned())
        if kind in (LIST, SET):
            return self._list(depth)
        if kind == STRUCT:
            return self.structure(depth + 1)
        if kind in (TRUE, FALSE, BYTE):  # in a list
            return self._byte()
        if kind == DOUBLE:
            return self._bytes(8)
        raise ValueError(f"a value of kind {kind}")

    def _list(self, depth: int) -> list:
        if depth > DEEPEST:
            raise ValueError("nested too deeply")
        head = self._byte()
        size = head >> 4 if head >> 4 < 15 else self._unsigned()
        if size > len(self.content) - self.at:  # each has a byte at least
            raise ValueError("a list is cut short")
        return [self._value(head & 15, depth + 1) for _ in range(size)]

    def _number(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)

    def _unsigned(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("a number is too long")

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, size: int) -> bytes:
        if self.at + size > len(self.content):
            raise ValueError("cut short")
        self.at += size
        return self.content[self.at - size : self.at]
