"""One connection to the server, with a deadline for everything."""

from __future__ import annotations

import socket
import time
from collections import deque
from typing import Deque, List, Sequence, Tuple

from . import wire

#: Bytes asked for in one read: many replies, and most of a small view's stats.
READ_LENGTH = 64 * 1024
#: The shortest look for a reply.
LOOK_S = 0.0001


class Connection:
    """Sends requests and gives their replies in order.

    A request whose reply does not come in time leaves the connection *late*: `catch_up` must take the replies that are
    missing before anything else is sent. Every other fault (OSError, ProtocolError) makes the connection useless.
    """

    def __init__(self, address: Tuple[str, int], timeout_s: float) -> None:
        self.address = address
        self.late = False
        self._unanswered: Deque[bytes] = deque()
        #: Of an exchange that was not complete in time, the replies that were.
        self._early: List[Tuple[bytes, bytes]] = []
        self._received = bytearray()
        self._socket = socket.create_connection(address, timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self._socket.close()

    def hello(self, view: str, owner: str, token: bytes, timeout_s: float) -> wire.Welcome:
        """Joins a view. Raises RefusedError where the server does not want this client."""
        return wire.read_welcome(self.exchange([wire.hello(view, owner, token)], timeout_s)[0])

    def exchange(self, requests: Sequence[bytes], timeout_s: float) -> List[bytes]:
        """Sends the requests in one write and gives their replies. Raises TimeoutError, and is late then."""
        assert not self.late, "the replies of earlier requests are still to come"
        deadline_s = time.monotonic() + timeout_s
        self._socket.settimeout(timeout_s)
        try:
            self._socket.sendall(b"".join(map(wire.frame, requests)))
        except socket.timeout as error:
            # It is not known how much was sent, so no more can be.
            raise ConnectionError("the server reads nothing") from error
        self._unanswered.extend(requests)
        answered: List[Tuple[bytes, bytes]] = []
        try:
            while len(answered) < len(requests):
                answered.append(self._reply(deadline_s))
        except TimeoutError:
            self.late, self._early = True, answered
            raise
        return [reply for _, reply in answered]

    def catch_up(self, timeout_s: float) -> List[Tuple[bytes, bytes]]:
        """Takes the replies of the exchange that was late, each with its request.

        Raises TimeoutError where they are not complete in time, either: the connection is useless then.
        """
        deadline_s = time.monotonic() + timeout_s
        answered, self._early = self._early, []
        while self._unanswered:
            answered.append(self._reply(deadline_s))
        self.late = False
        return answered

    def _reply(self, deadline_s: float) -> Tuple[bytes, bytes]:
        while (reply := wire.take_frame(self._received)) is None:
            # What has arrived is taken even if this thread was not running until the deadline.
            self._socket.settimeout(max(deadline_s - time.monotonic(), LOOK_S))
            try:
                received = self._socket.recv(READ_LENGTH)
            except socket.timeout as error:
                raise TimeoutError("the server did not answer in time") from error
            if not received:
                raise ConnectionError("the server has closed the connection")
            self._received += received
        return self._unanswered.popleft(), reply
