"""The bytes of the messages, as the protocol's document shows them."""

import struct

import pytest

from ray_external_scheduler import wire

CPU = wire.resources({"cpu": 1})


def spaced(text):
    return bytes.fromhex(text)


@pytest.mark.parametrize(
    "request_bytes, expected",
    [
        (wire.hello("v", "j"), "09 00 00 00 00 00 00 00  10  02 00  01 76  01 6a  00 00"),
        (
            wire.update_node(50, wire.resources({"cpu": 5}), wire.resources({"cpu": 8})),
            "29 00 00 00 00 00 00 00  11  32 00 00 00 00 00 00 00"
            "0c 00 00 00  63 70 75 00  00 00 00 00 00 00 14 40  0c 00 00 00  63 70 75 00  00 00 00 00 00 00 20 40",
        ),
        (
            wire.release(50, CPU, 2),
            "1d 00 00 00 00 00 00 00  12  32 00 00 00 00 00 00 00"
            "0c 00 00 00  63 70 75 00  00 00 00 00 00 00 f0 3f  02 00 00 00",
        ),
        (wire.remove_node(-2), "09 00 00 00 00 00 00 00  01  fe ff ff ff ff ff ff ff"),
        (
            wire.schedule(CPU, strict=True, policy=5),
            "15 00 00 00 00 00 00 00  14 01 05 00 00  0c 00 00 00  63 70 75 00  00 00 00 00 00 00 f0 3f",
        ),
    ],
)
def test_requests_are_those_of_the_protocol(request_bytes, expected):
    assert wire.frame(request_bytes) == spaced(expected)


def test_a_frame_is_taken_when_it_is_whole():
    stream = wire.frame(b"one") + wire.frame(b"two")
    buffer, taken = bytearray(), []
    for byte in stream:
        buffer.append(byte)
        while (body := wire.take_frame(buffer)) is not None:
            taken.append(body)
    assert taken == [b"one", b"two"] and not buffer


@pytest.mark.parametrize("length", [0, -1, wire.REPLY_LENGTH_MAX + 1])
def test_a_length_that_no_reply_has_is_a_fault(length):
    with pytest.raises(wire.ProtocolError):
        wire.take_frame(bytearray(struct.pack("<q", length)))


@pytest.mark.parametrize(
    "reply, expected",
    [
        (b"\0" + struct.pack("<qB", -7, 1), (-7, True, "")),
        (b"\0" + struct.pack("<qB", 7, 0), (7, False, "")),
        (b"\1\0", (-1, False, "infeasible")),
        (b"\1\1", (-1, False, "nothing_free")),
        (b"\1\2", (-1, False, "no_nodes")),
    ],
)
def test_replies_to_a_schedule(reply, expected):
    assert wire.read_scheduled(reply) == expected


@pytest.mark.parametrize("reply", [b"", b"\0", b"\0" * 9, b"\0" * 11, b"\3", b"\2", b"\2\1"])
def test_what_is_no_reply_to_a_schedule(reply):
    with pytest.raises(wire.ProtocolError):
        wire.read_scheduled(reply)


def test_a_refusal_carries_its_code():
    with pytest.raises(wire.RefusedError, match="1 is held here") as refusal:
        wire.read_done(spaced("02 0b 00") + b"1 is held here")
    assert refusal.value.code == 11


@pytest.mark.parametrize("amounts", [{"": 1}, {"a\0b": 1}, {"x" * 1025: 1}, {"CPU": float("nan")}])
def test_resources_that_no_message_can_say(amounts):
    with pytest.raises(ValueError):
        wire.resources(amounts)


def test_equal_resources_are_equal_bytes():
    assert wire.resources({"GPU": 1, "CPU": 2}) == wire.resources({"CPU": 2.0, "GPU": 1.0})


def test_owners_of_this_package_are_told_from_others():
    assert wire.owner_name("01000000", "ab" * 28, 3) == "01000000/abababababababab/3"
    assert [wire.is_owner_name(name) for name in ("", "agent", "training", "a/b", "a/b/0")] == [False] * 4 + [True]


def test_no_node_has_the_number_of_no_node():
    assert wire.node_number("ff" * 8 + "02" + "00" * 19) == 2
    assert wire.node_number("fe" + "ff" * 27) == -2


@pytest.mark.parametrize(
    "address, expected",
    [
        ("127.0.0.1 44444", ("127.0.0.1", 44444)),
        ("head:1", ("head", 1)),
        ("[::1]:44444", ("::1", 44444)),
        ("::1 44444", ("::1", 44444)),
    ],
)
def test_addresses(address, expected):
    assert wire.split_address(address) == expected


@pytest.mark.parametrize("address", ["", "head", "head:", ":1", "head:0", "head:65536", "head:x"])
def test_what_is_no_address(address):
    with pytest.raises(ValueError):
        wire.split_address(address)
