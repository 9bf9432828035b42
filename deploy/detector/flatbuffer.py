"""Reading the metadata of a TFLite file without its runtime."""

from __future__ import annotations

import struct


def tflite_metadata(data: bytes, key: str) -> str | None:
    """Return the text of a TFLite file's metadata buffer ``key``, or None if there is none.

    A flatbuffer's table starts with the distance to its list of fields. Of a model's, field 4
    holds the buffers and field 6 the metadata, each of which has a name and a buffer's number.
    Raises struct.error, ValueError or IndexError for what is no such file.
    """

    def number(at: int, kind: str = "<I") -> int:
        if at < 0:
            raise ValueError("a position before the file's start")
        return int(struct.unpack_from(kind, data, at)[0])

    def field(table: int, index: int) -> int:
        fields = table - number(table, "<i")
        slot = 4 + 2 * index
        offset = number(fields + slot, "<H") if slot < number(fields, "<H") else 0
        return table + offset if offset else 0

    def follow(at: int) -> int:
        return at + number(at)

    def content(at: int) -> bytes:
        start = follow(at)
        return data[start + 4 : start + 4 + number(start)]

    def tables(at: int) -> list[int]:
        start = follow(at)
        if number(start) > len(data) // 4:
            raise ValueError("a list that is longer than the file")
        return [follow(start + 4 + 4 * index) for index in range(number(start))]

    model = number(0)
    entries = field(model, 6)
    for entry in tables(entries) if entries else ():
        if content(field(entry, 0)) == key.encode():
            place = field(entry, 1)
            buffer = tables(field(model, 4))[number(place) if place else 0]
            return content(field(buffer, 0)).decode()
    return None
