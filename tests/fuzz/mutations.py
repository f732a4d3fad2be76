"""Random damage of bytes and JSON, drawn from a given `random.Random`."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, MutableMapping, MutableSequence
from random import Random
from typing import Any

HEADER = 96
"""Half of all damage to bytes is done here, where a file says what it is and how long."""

EXTREME_BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF)
EXTREME_INTEGERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 62, -1)

DEEP = "[" * 200_000 + "]" * 200_000
"""JSON that no recursion survives; it is put into the text in place of `DEEP_MARK`, for no encoder writes it either."""
DEEP_MARK = "fuzz-deep"

EXTREME_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 0.5, 1e-45, 1e308, -1e308, float("nan"), float("inf"), float("-inf")),
    *(255, 256, 4096, 65_535, 65_536, 65_537, 10**6, 10**9, 2**31 - 1, 2**31, 2**63, 10**30, -(10**9), 10**4000),
    *("", "0", "16000", "none", "<pad>", "/etc/passwd", "../..", "x" * 100_000, "\ud800", "\0"),
    *([], {}, [[]], [None], [0] * 10_000, {"0": "a"}, {"": {}}, DEEP_MARK),
)


def mutate_bytes(content: bytes, rng: Random) -> bytes:
    """Damages a file in one to four ways: bits, words, and ranges that are cut, doubled, zeroed, moved or inserted."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        rng.choice(BYTE_MUTATIONS)(data, rng)
    return bytes(data)


def _place(data: bytearray, rng: Random) -> int:
    end = len(data) if rng.random() < 0.5 else min(len(data), HEADER)
    return rng.randrange(end) if end else 0


def _range(data: bytearray, rng: Random) -> slice:
    start = _place(data, rng)
    return slice(start, start + rng.choice((1, 2, 4, 8, 64, 512, max(len(data) // 4, 1))))


def _flip_bits(data: bytearray, rng: Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 16)) if data else 0):
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _set_byte(data: bytearray, rng: Random) -> None:
    if data:
        data[_place(data, rng)] = rng.choice(EXTREME_BYTES)


def _set_word(data: bytearray, rng: Random) -> None:
    size, start = rng.choice((2, 4, 8)), _place(data, rng)
    start -= start % 2 * rng.randrange(2)
    word = integer_bytes(rng.choice(EXTREME_INTEGERS), size, rng.choice(("little", "big")))
    data[start : start + size] = word


def _truncate(data: bytearray, rng: Random) -> None:
    del data[_place(data, rng) :]


def _delete(data: bytearray, rng: Random) -> None:
    del data[_range(data, rng)]


def _duplicate(data: bytearray, rng: Random) -> None:
    copied = bytes(data[_range(data, rng)]) * rng.choice((1, 2, 100))
    place = _place(data, rng)
    data[place:place] = copied


def _zero(data: bytearray, rng: Random) -> None:
    where = _range(data, rng)
    data[where] = bytes(len(data[where]))


def _insert(data: bytearray, rng: Random) -> None:
    place = _place(data, rng)
    data[place:place] = rng.randbytes(rng.choice((1, 2, 4, 64, 4096)))


def _scramble(data: bytearray, rng: Random) -> None:
    where = _range(data, rng)
    data[where] = rng.randbytes(len(data[where]))


BYTE_MUTATIONS: tuple[Callable[[bytearray, Random], None], ...] = (
    *(_flip_bits, _flip_bits, _set_byte, _set_word, _set_word),
    *(_truncate, _delete, _duplicate, _zero, _insert, _scramble),
)


def integer_bytes(value: int, size: int, order: Any) -> bytes:
    """Encodes an integer in `size` bytes and truncates it."""
    return (value % (1 << 8 * size)).to_bytes(size, order)


def mutate_json(text: str, rng: Random, more_keys: tuple[str, ...] = ()) -> str:
    """Damages one to three values, keys or positions in JSON, rarely the text itself.

    Args:
        text: The JSON.
        rng: The random generator.
        more_keys: Keys that are sometimes added because a library may read them.
    """
    holder = [json.loads(text)]
    for _ in range(rng.choice((1, 1, 2, 3))):
        _mutate_value(holder, rng, more_keys)
    damaged = json.dumps(holder[0] if holder else None).replace(f'"{DEEP_MARK}"', DEEP)
    if rng.random() < 0.1:
        return mutate_bytes(damaged.encode(), rng).decode("latin-1")
    return damaged


def _mutate_value(holder: list[Any], rng: Random, more_keys: tuple[str, ...]) -> None:
    # `holder` itself has one value, the whole: its damage leaves nothing else, so it is seldom.
    containers = list(_containers(holder))[1:] if rng.random() < 0.97 else [holder]
    places = [(container, key) for container in containers for key in _keys(container)]
    if not places or rng.random() < 0.15:
        _add(rng.choice(containers or [holder]), rng, more_keys)
        return
    container, key = rng.choice(places)
    value = container[key]
    chance = rng.random()
    if chance < 0.5:
        container[key] = _extreme(rng)
    elif chance < 0.65 and isinstance(value, int | float):
        real = float(value) if abs(value) < 10**300 else value  # Another mutation may have made it huge.
        container[key] = rng.choice((value + 1, value - 1, value * 2, value // 2, -value, value * 1000, real))
    elif chance < 0.8:
        container[key] = rng.choice((str(value), [value], {str(key): value}, [value, value]))
    elif chance < 0.9:
        other = rng.choice(_keys(container))
        container[key], container[other] = container[other], value
    else:
        del container[key]


def _add(container: Any, rng: Random, more_keys: tuple[str, ...]) -> None:
    value = _extreme(rng)
    if isinstance(container, MutableMapping):
        container[rng.choice((*more_keys, "", "extra", "__class__"))] = value
    elif isinstance(container, MutableSequence):
        container.insert(rng.randrange(len(container) + 1), value)


def _extreme(rng: Random) -> Any:
    return copy.deepcopy(rng.choice(EXTREME_VALUES))  # It may be damaged again.


def _keys(container: Any) -> list[Any]:
    return list(container) if isinstance(container, dict) else list(range(len(container)))


def _containers(value: Any) -> Any:
    """Yields all lists and objects of a JSON value, itself first."""
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _containers(inner)
