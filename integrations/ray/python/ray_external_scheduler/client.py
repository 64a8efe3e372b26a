"""Asks the scheduler for nodes, and never keeps Ray waiting."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import Counter, deque
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, Sequence, Tuple

from . import wire
from .config import Address, Settings
from .connection import Connection

logger = logging.getLogger("ray_external_scheduler")

CONNECT_TIMEOUT_S = 0.5
#: Between two rounds over all addresses. With a connect it stays below the second in which we are to be back.
RECONNECT_PAUSE_S = 0.2
#: A server that is this late is taken for gone.
LATE_MAX_S = 1.0
#: After a reply that came too late nothing is asked for so long, and twice as long each time, so that a machine without
#: time for the server does not wait for it with each task.
BACK_OFF_S = 0.02
BACK_OFF_MAX_S = 0.5
#: Where nothing was free for a demand, it is not asked for again so long: in a burst of thousands of tasks most find
#: the cluster full, and Ray has them queued already.
FULL_PAUSE_S = 0.005
#: While equal demands come faster than this, several are asked for at once, up to AHEAD_MAX: a burst of tasks then
#: pays for the way to the server once for all of them.
BURST_S = 0.002
AHEAD_MAX = 16
#: A placement that was asked for ahead and found no task in this time is given back.
SPARE_S = 0.02
#: Demands that something is remembered of.
DEMANDS_MAX = 1000
#: Releases that no schedule has carried along are sent after this time.
FLUSH_PAUSE_S = 0.02
#: Releases in one message exchange.
RELEASES_MAX = 256


class Placement(NamedTuple):
    """A demand that the server has placed. It ends by `Client.release`."""

    node: int
    demand: bytes
    connection: Connection


class DemandState:
    """What is remembered of a demand that was asked for."""

    __slots__ = ("ahead", "asked_s", "full_until_s", "spare")

    def __init__(self) -> None:
        #: How many were asked for at once, and when.
        self.ahead = 0
        self.asked_s = 0.0
        self.full_until_s = 0.0
        #: Placements that were asked for ahead.
        self.spare: Deque[Placement] = deque()


class Client:
    """Schedules over whichever address answers, and reconnects in the background.

    The placements of a connection have an owner of their own (`wire.owner_name`). When the connection is lost the agent
    releases them, so there is nothing to reconcile: what still runs then counts as use by others.
    """

    def __init__(self, settings: Settings, view: str, job: str, worker: str) -> None:
        self.counts: Counter = Counter()
        self._settings = settings
        self._view = view
        self._job = job
        self._worker = worker
        self._connection_numbers = itertools.count()
        self._timeout_s = settings.timeout_ms / 1000
        self._connection: Optional[Connection] = None
        self._welcome: Optional[wire.Welcome] = None
        self._released: Deque[Placement] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._connected = threading.Event()
        self._closed = False
        self._back_off_s = 0.0
        self._resume_s = 0.0
        self._demands: Dict[Tuple[bytes, bool, int], DemandState] = {}
        self._thread = threading.Thread(target=self._maintain, name="external-scheduler-client", daemon=True)
        self._thread.start()

    @property
    def address(self) -> Optional[Address]:
        """The address of the server that answers, if one does."""
        connection = self._connection
        return connection.address if connection else None

    def wait_connected(self, timeout_s: float) -> bool:
        """Waits until a server has answered for the first time, or again."""
        return self._connected.wait(timeout_s)

    def close(self) -> None:
        """Ends the connection. What was not released the agent releases."""
        self._closed = True
        self._wake.set()
        self._thread.join()
        with self._lock:
            if self._connection:
                self._disconnect("closed")

    def schedule(self, demand: bytes, *, strict: bool, policy: int) -> Tuple[Optional[Placement], str]:
        """The placement of a demand, or None and why there is none. Takes at most `timeout_ms`."""
        connection = self._connection
        if connection is None:
            return None, "no_connection"
        state = self._demands.get((demand, strict, policy))
        if state is not None:
            if placement := self._take_spare(state, connection):
                return placement, ""
            if time.monotonic() < state.full_until_s:
                return None, "nothing_free"
        if connection.late or time.monotonic() < self._resume_s:
            return None, "late"
        if not self._lock.acquire(timeout=self._timeout_s):
            return None, self._too_late()
        try:
            connection = self._connection
            if connection is None:
                return None, "no_connection"
            if connection.late:
                return None, "late"
            return self._ask(connection, demand, strict, policy)
        except TimeoutError:
            self._wake.set()
            return None, self._too_late()
        except (OSError, wire.ProtocolError) as error:
            self._disconnect(error)
            return None, "no_connection"
        finally:
            self._lock.release()

    def _ask(
        self, connection: Connection, demand: bytes, strict: bool, policy: int
    ) -> Tuple[Optional[Placement], str]:
        """Asks the server, in a burst for further tasks, too. The lock is held."""
        state = self._state(demand, strict, policy)
        now_s = time.monotonic()
        in_burst = now_s - state.asked_s < BURST_S * state.ahead
        state.ahead, state.asked_s = min(2 * state.ahead, AHEAD_MAX) if in_burst else 1, now_s
        releases = self._take_releases(connection)
        asked = state.ahead * [wire.schedule(demand, strict=strict, policy=policy)]
        replies = connection.exchange(releases + asked, self._timeout_s)
        self._back_off_s = 0.0
        self._check_released(replies[: len(releases)])
        placements, reason = self._read_placements(connection, demand, replies[len(releases) :])
        if reason:
            # After this, nothing more is asked for ahead.
            state.ahead = 0
        if reason == "nothing_free":
            state.full_until_s = now_s + FULL_PAUSE_S
        if not placements:
            return None, reason
        if len(placements) > 1:
            state.spare.extend(placements[1:])
            self._wake.set()
        return placements[0], ""

    @staticmethod
    def _read_placements(
        connection: Connection, demand: bytes, replies: Sequence[bytes]
    ) -> Tuple[List[Placement], str]:
        """The placements that were made, and why some were not."""
        placements, reason = [], ""
        for reply in replies:
            try:
                scheduled = wire.read_scheduled(reply)
            except wire.RefusedError as error:
                logger.debug("a demand was refused: %s", error)
                reason = "refused"
                continue
            if scheduled.reason:
                reason = scheduled.reason
            else:
                placements.append(Placement(scheduled.node, demand, connection))
        return placements, reason

    def release(self, placement: Placement) -> None:
        """Ends a placement, soon. One of a lost connection is forgotten."""
        self._released.append(placement)
        self._wake.set()

    def query(self, request: bytes, timeout_s: float = LATE_MAX_S) -> Optional[Dict[str, Any]]:
        """The JSON that answers an explain or a stats, on a connection of its own. None if no server answers."""
        address = self.address
        if address is None:
            return None
        try:
            connection = Connection(address, CONNECT_TIMEOUT_S)
            try:
                connection.hello(self._view, "", self._settings.token, timeout_s)
                return wire.read_json(connection.exchange([request], timeout_s)[0])
            finally:
                connection.close()
        except (OSError, wire.ProtocolError, wire.RefusedError) as error:
            logger.debug("a query was not answered: %s", error)
            return None

    def _state(self, demand: bytes, strict: bool, policy: int) -> DemandState:
        state = self._demands.get((demand, strict, policy))
        if state is None:
            if len(self._demands) >= DEMANDS_MAX:
                self._give_back(lambda _: True)
                self._demands.clear()
            state = self._demands[demand, strict, policy] = DemandState()
        return state

    @staticmethod
    def _take_spare(state: DemandState, connection: Connection) -> Optional[Placement]:
        try:
            while (placement := state.spare.popleft()).connection is not connection:
                pass
            return placement
        except IndexError:
            return None

    def _give_back(self, is_due: Callable[[DemandState], bool]) -> bool:
        """Releases what was asked for ahead in vain. Returns whether some is left that is not due."""
        is_left = False
        for state in list(self._demands.values()):
            if not is_due(state):
                is_left = is_left or bool(state.spare)
                continue
            try:
                while True:
                    self._released.append(state.spare.popleft())
            except IndexError:
                pass
        return is_left

    def _too_late(self) -> str:
        self._back_off_s = min(max(2 * self._back_off_s, BACK_OFF_S), BACK_OFF_MAX_S)
        self._resume_s = time.monotonic() + self._back_off_s
        return "timeout"

    def _take_releases(self, connection: Connection) -> List[bytes]:
        ended: Counter = Counter()
        while self._released and len(ended) < RELEASES_MAX:
            placement = self._released.popleft()
            if placement.connection is connection:
                ended[placement.node, placement.demand] += 1
        return [wire.release(node, demand, count) for (node, demand), count in ended.items()]

    def _check_released(self, replies: List[bytes]) -> None:
        for reply in replies:
            try:
                wire.read_done(reply)
            except wire.RefusedError:
                # The node has gone, and its placements with it.
                self.counts["release_refused"] += 1

    def _disconnect(self, why: object) -> None:
        """Forgets the connection. The lock is held."""
        assert self._connection is not None
        logger.info("lost the scheduler at %s:%d: %s", *self._connection.address[:2], why)
        self._connection.close()
        self._connection = None
        self._connected.clear()
        self._wake.set()

    def _maintain(self) -> None:
        while not self._closed:
            connection = self._connection
            if connection is None:
                if not self._connect():
                    time.sleep(RECONNECT_PAUSE_S)
                continue
            self._wake.wait()
            self._wake.clear()
            if connection.late or self._closed:
                self._tend(connection)
                continue
            # A schedule that comes meanwhile takes the releases along.
            time.sleep(FLUSH_PAUSE_S)
            now_s = time.monotonic()
            if self._give_back(lambda state: now_s - state.asked_s > SPARE_S):
                self._wake.set()
            if self._released:
                self._tend(connection)

    def _tend(self, connection: Connection) -> None:
        """Takes late replies and sends releases."""
        with self._lock:
            if self._connection is not connection:
                return
            try:
                for request, reply in connection.catch_up(LATE_MAX_S):
                    self._settle(connection, request, reply)
                while requests := self._take_releases(connection):
                    self._check_released(connection.exchange(requests, LATE_MAX_S))
            except (OSError, wire.ProtocolError) as error:
                self._disconnect(error)

    def _settle(self, connection: Connection, request: bytes, reply: bytes) -> None:
        """Gives a placement back that came too late for its task."""
        if request[0] != wire.SCHEDULE_WITH_HINTS:
            self._check_released([reply])
            return
        try:
            scheduled = wire.read_scheduled(reply)
        except wire.RefusedError:
            return
        if not scheduled.reason:
            self._released.append(Placement(scheduled.node, demand_of(request), connection))

    def _connect(self) -> bool:
        for address in self._settings.addresses:
            owner = wire.owner_name(self._job, self._worker, next(self._connection_numbers))
            try:
                connection = Connection(address, CONNECT_TIMEOUT_S)
            except OSError as error:
                logger.debug("no scheduler at %s:%d: %s", *address, error)
                continue
            try:
                welcome = connection.hello(self._view, owner, self._settings.token, LATE_MAX_S)
            except (OSError, wire.ProtocolError, wire.RefusedError) as error:
                logger.warning("the scheduler at %s:%d does not serve us: %s", *address, error)
                connection.close()
                continue
            with self._lock:
                self._connection = connection
                self._welcome = welcome
            logger.info("connected to the scheduler at %s:%d", *address)
            self.counts["connects"] += 1
            self._connected.set()
            return True
        return False


def demand_of(request: bytes) -> bytes:
    """The demand of a schedule request that names no nodes."""
    # Code, flags, policy, two empty lists of nodes, and the length of the demand.
    return request[1 + 1 + 1 + 1 + 1 + 4 :]
