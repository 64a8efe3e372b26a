"""What is installed in a process: the placing of all that it submits."""

from __future__ import annotations

import atexit
import dataclasses
import logging
import threading
import time
from collections import Counter
from typing import Any, Callable, Dict, Iterable, Optional, Sequence, Tuple, Union

import ray

from . import agent, config, demand, ray_internals, wire
from .client import Client, Placement
from .config import Settings
from .releases import ReleaseTracker, TrackedActor

logger = logging.getLogger("ray_external_scheduler")

#: A process waits once for its connection, so that already its first task is placed.
CONNECT_WAIT_S = 0.1
#: How long `install` waits until the scheduler knows the nodes.
NODES_WAIT_S = 5.0


class Session:
    """Places the tasks and actors of one process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.identity = ray_internals.cluster_and_job()
        self.counts: Counter = Counter()
        self.carried = dataclasses.asdict(settings)
        self._node_ids: Dict[int, str] = {}
        self._client: Optional[Client] = None
        self._tracker: Optional[ReleaseTracker] = None
        self._starting = threading.Lock()

    @property
    def client(self) -> Client:
        """The client, which connects when it is needed first: most workers never submit anything."""
        if self._client is None:
            self._start()
        return self._client

    @property
    def tracker(self) -> ReleaseTracker:
        """What follows the placements of the client."""
        if self._tracker is None:
            self._start()
        return self._tracker

    def _start(self) -> None:
        view, job = self.identity
        worker = ray.get_runtime_context().get_worker_id()
        with self._starting:
            if self._client is None:
                client = Client(self.settings, view, job, worker)
                client.wait_connected(CONNECT_WAIT_S)
                self._tracker = ReleaseTracker(client)
                self._client = client

    def close(self) -> None:
        """Ends the placing; the placements of what still runs are released, and it counts as use by others."""
        if self._client:
            self._tracker.close()
            self._client.close()

    def submit_task(self, submit: Callable[..., Any], remote_function: Any, options: Dict[str, Any]) -> Any:
        """Submits a task to the node that the scheduler names, or as Ray would."""
        ray_internals.carry_task(remote_function, self.carried)
        placed = self._place(demand.of_task, options)
        if placed is None:
            return submit(**options)
        placement, node_id, _ = placed
        result = self._submit(submit, options, placement, node_id)
        ref = ray_internals.completion_ref(result)
        if ref is None:
            self.client.release(placement)
        else:
            self.tracker.follow_task(ref, placement)
        return result

    def create_actor(self, submit: Callable[..., Any], actor_class: Any, options: Dict[str, Any]) -> Any:
        """Creates an actor on the node that the scheduler names, or as Ray would."""
        ray_internals.carry_actor(actor_class, self.carried)
        placed = self._place(demand.of_actor, options)
        if placed is None:
            return submit(**options)
        placement, node_id, held = placed
        handle = self._submit(submit, options, placement, node_id)
        self.tracker.follow_actor(ray_internals.actor_id(handle), TrackedActor(placement, node_id, held))
        return handle

    def _submit(self, submit: Callable[..., Any], options: Dict[str, Any], placement: Placement, node_id: str) -> Any:
        try:
            return submit(**{**options, "scheduling_strategy": ray_internals.affinity(node_id)})
        except BaseException:
            self.client.release(placement)
            raise

    def _place(
        self, demand_of: Callable[[Dict[str, Any]], Optional[demand.Demand]], options: Dict[str, Any]
    ) -> Optional[Tuple[Placement, str, bool]]:
        """The placement, the node's ID in Ray, and whether it is held while running. None: Ray places. Never raises."""
        try:
            placed, reason = self._ask(demand_of, options)
        except Exception as error:
            if not self.counts["fault"]:
                logger.warning("placing is left to Ray: %s", error, exc_info=True)
            placed, reason = None, "fault"
        self.counts[reason] += 1
        return placed

    def _ask(
        self, demand_of: Callable[[Dict[str, Any]], Optional[demand.Demand]], options: Dict[str, Any]
    ) -> Tuple[Optional[Tuple[Placement, str, bool]], str]:
        if ray_internals.cluster_and_job() != self.identity:
            return None, "other_cluster"
        policy, demanded = demand.policy(options, self.settings), demand_of(options)
        if policy is None or demanded is None or ray_internals.in_placement_group(options):
            return None, "strategy_of_ray"
        amounts, held = demanded
        strict = self.settings.when_full == "ray"
        placement, reason = self.client.schedule(wire.resources(amounts), strict=strict, policy=policy)
        if placement is None:
            return None, reason
        node_id = self._node_id(placement.node)
        if node_id is None:
            self.client.release(placement)
            return None, "unknown_node"
        return (placement, node_id, held), "placed"

    def _node_id(self, number: int) -> Optional[str]:
        if number not in self._node_ids:
            self._node_ids = {wire.node_number(node["NodeID"]): node["NodeID"] for node in ray.nodes()}
        return self._node_ids.get(number)

    def wait_for_nodes(self) -> bool:
        """Waits until the scheduler knows the nodes of this cluster."""
        deadline_s = time.monotonic() + NODES_WAIT_S
        while time.monotonic() < deadline_s:
            stats = self.client.query(wire.stats())
            known = {node["id"] for node in stats["view"]["nodes"]} if stats else set()
            if known >= {wire.node_number(node["NodeID"]) for node in ray.nodes() if node["Alive"]}:
                return True
            time.sleep(0.05)
        return False

    def status(self) -> Dict[str, Any]:
        """See `ray_external_scheduler.status`."""
        counts = dict(self.counts)
        placed = counts.pop("placed", 0)
        address = self.client.address
        return {
            "installed": True,
            "address": f"{address[0]}:{address[1]}" if address else None,
            "view": self.identity[0],
            "placed": placed,
            "left_to_ray": counts,
            "running": len(self.tracker),
            "connects": self.client.counts["connects"],
            "scheduler": self._with_node_ids(self.client.query(wire.stats())),
        }

    def explain(self, options: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        """See `ray_external_scheduler.explain`."""
        explanation = self.client.query(wire.explain(wire.resources(demand.of_task(options).amounts)))
        if explanation and explanation["node"] is not None:
            explanation["node"] = self._node_id(explanation["node"])
        if explanation and explanation["closest"]:
            explanation["closest"]["node"] = self._node_id(explanation["closest"]["node"])
        return explanation

    def _with_node_ids(self, stats: Optional[Dict[str, Any]]) -> Optional[Dict[str, Any]]:
        for node in stats["view"]["nodes"] if stats else ():
            node["node_id"] = self._node_id(node["id"])
        return stats


_session: Optional[Session] = None
_changing = threading.RLock()


def install(
    address: Union[None, str, Sequence[str]] = None,
    *,
    timeout_ms: float = 5,
    policy: str = "view",
    strategies: Iterable[str] = (),
    when_full: str = "ray",
    token: Union[str, bytes] = b"",
    start: bool = False,
) -> None:
    """Has the tasks and actors of this job placed by the external scheduler, from here on.

    `address` is `host:port`, several in the order of fail-over with commas between or as a list; without one it is
    RAY_EXTERNAL_SCHEDULER_ADDRESS, else the lines of EXTERNAL_SCHEDULER_CONFIG.txt. `timeout_ms` is the longest that a
    submission waits for the scheduler. `policy` is one of the scheduler's policies (`view`: as it was started).
    `strategies` hands Ray's `SPREAD` over, too. `when_full` says who decides where nothing is free: `ray`, when
    something becomes free, or `queue`, the scheduler at once. `start` starts a server where the first address does not
    answer.

    Where no scheduler answers Ray places as ever. Raises ValueError for arguments that make no sense, RuntimeError if
    Ray is not initialised, is used through Ray Client, is too old, or if no server could be started.
    """
    ray_internals.check()
    if not ray.is_initialized():
        raise RuntimeError("call ray.init() before ray_external_scheduler.install()")
    if ray_internals.is_client():
        raise RuntimeError("Ray Client (ray://) submits from another process; use a driver in the cluster")
    settings = Settings(
        addresses=config.addresses(address),
        timeout_ms=timeout_ms,
        policy=policy,
        strategies=frozenset(strategies) | {"DEFAULT"},
        when_full=when_full,
        token=token.encode() if isinstance(token, str) else token,
    )
    if start and not any(map(config.answers, settings.addresses)):
        config.start_server(settings.addresses[0], settings.policy)
    uninstall()
    try:
        agent.ensure(settings.addresses, settings.token)
    except (ray.exceptions.RayError, ValueError) as error:
        logger.warning("no agent, so the scheduler knows no nodes and Ray places: %s", error)
    session = _open(settings)
    if not session.client.wait_connected(CONNECT_WAIT_S):
        logger.warning("no scheduler answers at %s, Ray places until one does", settings.addresses)
    elif not session.wait_for_nodes():
        logger.warning("the scheduler does not know all nodes yet")


def join(carried: Dict[str, Any]) -> None:
    """Has what this worker submits placed, too. Called in workers by the functions that they run."""
    if _is_joined(carried):
        return
    with _changing:
        if not _is_joined(carried):
            uninstall()
            _open(Settings(**carried))


def _is_joined(carried: Dict[str, Any]) -> bool:
    session = _session
    return (
        session is not None and session.carried == carried and session.identity == ray_internals.cluster_and_job()
    )


def _open(settings: Settings) -> Session:
    global _session
    with _changing:
        _session = session = Session(settings)
        ray_internals.patch(session.submit_task, session.create_actor, uninstall)
        return session


def uninstall() -> None:
    """Gives the placing in this process back to Ray. Does nothing where nothing is installed."""
    global _session
    with _changing:
        session, _session = _session, None
        ray_internals.unpatch()
    if session:
        session.close()


# Ray's own exit handler was registered before, so it runs after this one.
atexit.register(uninstall)


def status() -> Dict[str, Any]:
    """What is placed by this process, what is left to Ray and why, and the state of the scheduler if it answers."""
    session = _session
    return session.status() if session else {"installed": False}


def explain(**options: Any) -> Optional[Dict[str, Any]]:
    """Why a task with these options (`num_cpus`, `num_gpus`, …) goes where it goes. None if no scheduler answers.

    `summary` says it in words. Raises RuntimeError where nothing is installed.
    """
    session = _session
    if session is None:
        raise RuntimeError("call ray_external_scheduler.install() first")
    return session.explain(options)
