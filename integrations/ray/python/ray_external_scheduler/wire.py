"""The messages of the external scheduler, as bytes.

Follows ``src/wire/PROTOCOL.md``. Nothing here knows a socket: requests become bytes, replies become values.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple

VERSION = 2

REMOVE_NODE = 0x01
HELLO = 0x10
UPDATE_NODE = 0x11
RELEASE = 0x12
SCHEDULE_WITH_HINTS = 0x14
EXPLAIN = 0x15
STATS = 0x17

DONE = 0x00
NOT_PLACED = 0x01
ERROR = 0x02

STRICT = 1

#: The numbers of the policies in a schedule with hints; 0 is the policy of the view.
POLICIES = {
    name: number
    for number, name in enumerate(
        "view binpack stranded fragmentation best-fit spread balanced hybrid shortest-queue first-fit round-robin "
        "random power-of-two".split()
    )
}

#: Why a demand was not placed, by the byte after NOT_PLACED.
REASONS = {0: "infeasible", 1: "nothing_free", 2: "no_nodes"}

#: Longest reply of the server.
REPLY_LENGTH_MAX = 64 * 1024 * 1024

_LENGTH = struct.Struct("<q")
_NODE = struct.Struct("<q")
_AMOUNT = struct.Struct("<d")
_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_HELLO_REPLY = struct.Struct("<HQQ")
_SCHEDULED = struct.Struct("<qB")


class ProtocolError(Exception):
    """The peer has sent something that is no reply to the request."""


class RefusedError(Exception):
    """The server has refused a request: its error code, and why in words."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"refused: {text} (code {code})")
        self.code = code


class Welcome(NamedTuple):
    """The reply to a hello."""

    version: int
    capabilities: int
    #: Another number each time the server starts.
    instance: int


class Scheduled(NamedTuple):
    """The reply to a schedule: a node, or why there is none."""

    node: int
    #: Whether the demand fits there now; else it queues.
    free: bool
    #: A value of REASONS where nothing was placed, else "".
    reason: str


def frame(body: bytes) -> bytes:
    """A message with its length before it."""
    return _LENGTH.pack(len(body)) + body


def take_frame(buffer: bytearray) -> "bytes | None":
    """Takes the first whole message out of what was received, or gives None where more is to come.

    Raises ProtocolError for a length that no reply has.
    """
    if len(buffer) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack_from(buffer)
    if not 0 < length <= REPLY_LENGTH_MAX:
        raise ProtocolError(f"a reply of {length} bytes")
    end = _LENGTH.size + length
    if len(buffer) < end:
        return None
    body = bytes(buffer[_LENGTH.size : end])
    del buffer[:end]
    return body


def resources(amounts: Mapping[str, float]) -> bytes:
    """Resources in the order of their names, so that equal amounts are equal bytes.

    Raises ValueError for a name or an amount that no message can say.
    """
    parts: List[bytes] = []
    for name, amount in sorted(amounts.items()):
        key = name.encode()
        if not 0 < len(key) <= 1024 or 0 in key or not math.isfinite(amount):
            raise ValueError(f"no resource: {name!r}: {amount!r}")
        parts.append(key + b"\0" + _AMOUNT.pack(amount))
    return b"".join(parts)


def _list(encoded: bytes) -> bytes:
    return _U32.pack(len(encoded)) + encoded


def _name(name: str) -> bytes:
    encoded = name.encode()
    if len(encoded) > 255:
        raise ValueError(f"a name of more than 255 bytes: {name!r}")
    return bytes([len(encoded)]) + encoded


def owner_name(job: str, worker: str, connection: int) -> str:
    """The owner of what one connection of one process of a job places. No two connections have the same."""
    return f"{job}/{worker[:16]}/{connection}"


def is_owner_name(name: str) -> bool:
    """Whether an owner is one of `owner_name`, who never comes back once its connection has ended."""
    return name.count("/") == 2


def hello(view: str, owner: str, token: bytes = b"") -> bytes:
    """Joins the shared view of a name, as an owner of placements."""
    return bytes([HELLO]) + _U16.pack(VERSION) + _name(view) + _name(owner) + _U16.pack(len(token)) + token


def update_node(node: int, available: bytes, total: bytes) -> bytes:
    """Reports a node, whether the server knows it or not. The two lists are encoded by `resources`."""
    return bytes([UPDATE_NODE]) + _NODE.pack(node) + _list(available) + _list(total)


def remove_node(node: int) -> bytes:
    """Takes a node out of the view."""
    return bytes([REMOVE_NODE]) + _NODE.pack(node)


def release(node: int, demand: bytes, count: int) -> bytes:
    """Ends `count` placements of a demand on a node."""
    return bytes([RELEASE]) + _NODE.pack(node) + _list(demand) + _U32.pack(count)


def schedule(demand: bytes, *, strict: bool, policy: int) -> bytes:
    """Asks for the node of a demand, which is encoded by `resources`."""
    return bytes([SCHEDULE_WITH_HINTS, STRICT if strict else 0, policy, 0, 0]) + _list(demand)


def explain(demand: bytes) -> bytes:
    """Asks why a demand goes where it goes."""
    return bytes([EXPLAIN]) + demand


def stats() -> bytes:
    """Asks for the state of the view and of the server."""
    return bytes([STATS])


def _content(reply: bytes) -> bytes:
    """What follows the byte for done. Raises RefusedError for an error."""
    if reply[:1] == bytes([DONE]):
        return reply[1:]
    if reply[:1] == bytes([ERROR]) and len(reply) >= 3:
        raise RefusedError(_U16.unpack_from(reply, 1)[0], reply[3:].decode(errors="replace"))
    if reply == bytes([NOT_PLACED]):
        raise RefusedError(1, "the server does not know this request")
    raise ProtocolError(f"no reply to this request: {reply[:16].hex()}")


def read_done(reply: bytes) -> None:
    """Reads the reply to an update, a removal or a release."""
    _content(reply)


def read_welcome(reply: bytes) -> Welcome:
    """Reads the reply to a hello."""
    content = _content(reply)
    if len(content) != _HELLO_REPLY.size:
        raise ProtocolError("no reply to a hello")
    return Welcome(*_HELLO_REPLY.unpack(content))


def read_scheduled(reply: bytes) -> Scheduled:
    """Reads the reply to a schedule."""
    if len(reply) == 2 and reply[0] == NOT_PLACED:
        return Scheduled(-1, False, REASONS.get(reply[1], "infeasible"))
    content = _content(reply)
    if len(content) != _SCHEDULED.size:
        raise ProtocolError("no reply to a schedule")
    node, free = _SCHEDULED.unpack(content)
    return Scheduled(node, bool(free), "")


def read_json(reply: bytes) -> Dict[str, Any]:
    """Reads the reply to a stats or an explain."""
    try:
        return json.loads(_content(reply))
    except ValueError as error:
        raise ProtocolError(f"no JSON: {error}") from error


def node_number(node_id: str) -> int:
    """The number of a node on the wire: the first 8 bytes of Ray's hexadecimal node ID that are not -1."""
    node = bytes.fromhex(node_id)
    for start in range(0, len(node) - 7, 8):
        (number,) = _NODE.unpack_from(node, start)
        if number != -1:
            return number
    raise ValueError(f"no node ID: {node_id}")


def split_address(address: str) -> Tuple[str, int]:
    """The host and port of `host:port`, `[host]:port` or `host port`. Raises ValueError for anything else."""
    host, _, port = address.strip().replace(" ", ":").rpartition(":")
    host = host.rstrip(":").strip("[]")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"no address: {address!r} (a host and a port, as in 127.0.0.1:44444)")
    return host, int(port)
