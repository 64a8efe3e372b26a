"""The agent: one actor in a cluster that tells the scheduler about the nodes.

It reports nodes that join and die, and what is used on them by others: drivers that are not placed by the scheduler,
placement groups, tasks that Ray has placed itself. And it releases what processes held that have died.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Any, Deque, Dict, List, Mapping, Optional, Tuple

import ray

from . import ray_internals, wire
from .config import Address
from .connection import Connection

logger = logging.getLogger("ray_external_scheduler")

NAME = "external_scheduler_agent"
NAMESPACE = "ray_external_scheduler"
#: What only the head node has.
HEAD = "node:__internal_head__"
#: The agent as an owner. No job is called so.
OWNER = "agent"

CONNECT_TIMEOUT_S = 0.5
REPLY_TIMEOUT_S = 2.0
#: Between two looks at the cluster. Raylets tell theirs every 0.1 s.
PERIOD_S = 0.1
#: Looks over which others must have used something before it counts. What Ray says about our own tasks is
#: that much older than what the scheduler knows.
SAMPLES = 5
#: Without any user for so long, while all servers answer, the agent ends.
IDLE_MAX_S = 60.0
#: How long an agent may take to start: a worker process, and the import of Ray.
START_TIMEOUT_S = 20.0

Amounts = Mapping[str, float]


def is_reported(name: str) -> bool:
    """Whether a resource is one that tasks compete for.

    Not what a placement group adds to its nodes; not a node's own name, which is no resource to save; not the object
    store, whose use changes all the time. What asks for these is left to Ray.
    """
    return "_group_" not in name and not name.startswith("node:") and name != "object_store_memory"


def use_by_others(total: Amounts, available: Amounts, reserved: Amounts) -> Dict[str, float]:
    """What is in use on a node that the scheduler has not placed."""
    return {
        name: max(0.0, round(amount - available.get(name, 0.0) - reserved.get(name, 0.0), 4))
        for name, amount in total.items()
    }


class NodeReports:
    """The use of one node by others over the last looks, and what was last reported of it."""

    def __init__(self) -> None:
        self._samples: Deque[Dict[str, float]] = deque(maxlen=SAMPLES)
        self._reported: Optional[Tuple[bytes, bytes]] = None

    def next(self, total: Amounts, available: Amounts, reserved: Amounts) -> Optional[Tuple[bytes, bytes]]:
        """What is to be reported as available and as total, or None where it has not changed."""
        total = {name: amount for name, amount in total.items() if is_reported(name)}
        self._samples.append(use_by_others(total, available, reserved))
        unused = {
            name: amount - min(sample.get(name, 0.0) for sample in self._samples) for name, amount in total.items()
        }
        report = wire.resources(unused), wire.resources(total)
        if report == self._reported:
            return None
        self._reported = report
        return report


class Follower:
    """Keeps one server up to date."""

    def __init__(self, address: Address, view: str, token: bytes) -> None:
        self._address = address
        self._view = view
        self._token = token
        self._connection: Optional[Connection] = None
        self._nodes: Dict[int, NodeReports] = {}
        #: When a user was last connected, or may have been.
        self.used_s = time.monotonic()
        threading.Thread(target=self._run, name=f"follower-{address}", daemon=True).start()

    def _run(self) -> None:
        while True:
            started_s = time.monotonic()
            try:
                self._report()
            except (OSError, wire.ProtocolError, wire.RefusedError) as error:
                logger.debug("the scheduler at %s is not told: %s", self._address, error)
                self._disconnect()
                # Its users may be waiting for it, as we do.
                self.used_s = time.monotonic()
            except Exception as error:
                logger.warning("the nodes of the cluster cannot be seen: %s", error)
            # A round that takes long must not keep the server or Ray busy.
            time.sleep(max(PERIOD_S, 2 * (time.monotonic() - started_s)))

    def _disconnect(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None
        self._nodes.clear()

    def _report(self) -> None:
        if self._connection is None:
            self._connection = Connection(self._address, CONNECT_TIMEOUT_S)
            self._connection.hello(self._view, OWNER, self._token, REPLY_TIMEOUT_S)
        (reply,) = self._connection.exchange([wire.stats()], REPLY_TIMEOUT_S)
        view = wire.read_json(reply)["view"]
        if users(view):
            self.used_s = time.monotonic()
        for owner in view["owners"]:
            if wire.is_owner_name(owner["name"]) and "left_behind" in owner:
                self._release(owner)
        requests = self._requests(reserved_by_node(view))
        for reply in self._connection.exchange(requests, REPLY_TIMEOUT_S):
            wire.read_done(reply)

    def _release(self, owner: Mapping[str, Any]) -> None:
        """Releases what a process held that has died or lost its connection, without waiting for the lease."""
        connection = Connection(self._address, CONNECT_TIMEOUT_S)
        try:
            connection.hello(self._view, owner["name"], self._token, REPLY_TIMEOUT_S)
            releases = [
                wire.release(held["node"], wire.resources(held["resources"]), held["count"])
                for held in owner["left_behind"]
            ]
            for reply in connection.exchange(releases, REPLY_TIMEOUT_S):
                try:
                    wire.read_done(reply)
                except wire.RefusedError as error:
                    # The lease was over, or the node has gone.
                    logger.debug("%s had nothing to release: %s", owner["name"], error)
        finally:
            connection.close()

    def _requests(self, reserved: Mapping[int, Amounts]) -> List[bytes]:
        available = ray_internals.available_resources()
        totals = {wire.node_number(node_id): (node_id, total) for node_id, total in live_totals().items()}
        requests = []
        for number, (node_id, total) in totals.items():
            reports = self._nodes.setdefault(number, NodeReports())
            report = reports.next(total, available.get(node_id, {}), reserved.get(number, {}))
            if report:
                requests.append(wire.update_node(number, *report))
        for number in self._nodes.keys() - totals.keys():
            del self._nodes[number]
            requests.append(wire.remove_node(number))
        return requests


def live_totals() -> Dict[str, Dict[str, float]]:
    """What each node has that is alive."""
    totals = ray_internals.total_resources()
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    return {node_id: total for node_id, total in totals.items() if node_id in alive}


def users(view: Mapping[str, Any]) -> int:
    """The connections of jobs."""
    return sum(owner["connections"] for owner in view["owners"] if wire.is_owner_name(owner["name"]))


def reserved_by_node(view: Mapping[str, Any]) -> Dict[int, Dict[str, float]]:
    """The amounts that the scheduler has placed, by the number of the node."""
    return {
        node["id"]: {name: amounts["reserved"] for name, amounts in node["resources"].items()}
        for node in view["nodes"]
    }


class Agent:
    """The actor. It follows every address that a driver has named, so all of them can take over."""

    def __init__(self, addresses: Tuple[Address, ...], token: bytes) -> None:
        self._followers: Dict[Address, Follower] = {}
        self.follow(addresses, token)
        self._handle = ray.get_runtime_context().current_actor
        threading.Thread(target=self._end_when_idle, daemon=True).start()

    def follow(self, addresses: Tuple[Address, ...], token: bytes) -> None:
        """Reports to these addresses, too."""
        view, _ = ray_internals.cluster_and_job()
        for address in map(tuple, addresses):
            if address not in self._followers:
                self._followers[address] = Follower(address, view, token)
            self._followers[address].used_s = time.monotonic()

    def _end_when_idle(self) -> None:
        while time.monotonic() - max(follower.used_s for follower in list(self._followers.values())) < IDLE_MAX_S:
            time.sleep(1)
        ray.kill(self._handle)


def ensure(addresses: Tuple[Address, ...], token: bytes) -> None:
    """Starts the agent of this cluster or tells the one there is of further addresses. Raises what Ray raises."""
    options = dict(
        name=NAME,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        # Not an affinity: Ray starts an actor that demands nothing on a random node.
        resources={HEAD: 0.001},
        max_restarts=-1,
        # A worker that no task has used: a raylet of Ray 2.39 ends when it gives a detached actor one of another job.
        runtime_env={"env_vars": {"RAY_EXTERNAL_SCHEDULER_AGENT": "1"}},
    )
    for last in (False, True):
        agent = ray.remote(Agent).options(**options).remote(addresses, token)
        try:
            ray.get(agent.follow.remote(addresses, token), timeout=START_TIMEOUT_S)
            return
        except ray.exceptions.RayActorError:
            # An idle agent may end just now; the next one will not.
            if last:
                raise
