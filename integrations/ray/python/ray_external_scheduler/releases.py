"""Notices when placed tasks and actors end, however they end, and releases their placements."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Deque, Dict, List, NamedTuple, Tuple

import ray

from . import ray_internals
from .client import Client, Placement

logger = logging.getLogger("ray_external_scheduler")

#: Tasks that are looked at together: what is ready among so many is found in well under a millisecond.
WINDOW = 1000
#: A task that was submitted meanwhile is looked at after this time.
WAIT_S = 0.05
#: Tasks that end within this time are released together.
GATHER_S = 0.005
#: A look takes time of the process that submits, longer with more tasks: the pause after it is so many times as long.
PAUSE_RATIO = 20
GATHER_MAX_S = 0.05
#: Between two looks at the actors, each of which asks Ray's control store.
ACTORS_PAUSE_S = 0.5


class TrackedActor(NamedTuple):
    """The placement of an actor. One that is not held ends when the actor has started."""

    placement: Placement
    node_id: str
    held: bool


class ReleaseTracker:
    """Follows what this process has submitted.

    An object of a task is ready when the task has succeeded, failed for good, lost its worker for good, or was
    cancelled: so one wait for readiness covers every way in which a task ends, and retries keep their placement.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._new: Deque[Tuple[ray.ObjectRef, Placement]] = deque()
        self._tasks: Dict[ray.ObjectRef, Placement] = {}
        self._actors: Dict[str, TrackedActor] = {}
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="external-scheduler-releases", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """The tasks and actors that are followed."""
        return len(self._new) + len(self._tasks) + len(self._actors)

    def follow_task(self, ref: ray.ObjectRef, placement: Placement) -> None:
        """Releases the placement when the object is ready."""
        self._new.append((ref, placement))
        self._wake.set()

    def follow_actor(self, actor_id: str, actor: TrackedActor) -> None:
        """Releases the placement when the actor is dead, has moved, or (not held) has started."""
        self._actors[actor_id] = actor
        self._wake.set()

    def close(self) -> None:
        """Stops following. Afterwards no thread of this tracker is inside Ray."""
        self._closed = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        actors_due_s = 0.0
        while not self._closed:
            try:
                if not len(self):
                    self._wake.wait()
                elif not self._tasks and not self._new:
                    self._wake.wait(ACTORS_PAUSE_S)
                self._wake.clear()
                self._release_tasks()
                if self._actors and time.monotonic() >= actors_due_s:
                    started_s = time.monotonic()
                    self._release_actors()
                    ended_s = time.monotonic()
                    actors_due_s = ended_s + max(ACTORS_PAUSE_S, 4 * (ended_s - started_s))
            except Exception as error:
                # Ray is going down, or does not answer for a while.
                logger.debug("cannot see what has ended: %s", error)
                time.sleep(ACTORS_PAUSE_S)

    def _release_tasks(self) -> None:
        while self._new:
            ref, placement = self._new.popleft()
            self._tasks[ref] = placement
        if not self._tasks:
            return
        window = [ref for ref, _ in zip(self._tasks, range(WINDOW))]
        if not self._ready(window, 1, WAIT_S):
            self._to_the_end(window)
            return
        started_s = time.monotonic()
        for ref in self._ready(window, len(window), 0):
            self._client.release(self._tasks.pop(ref))
        self._to_the_end(window)
        time.sleep(min(max(GATHER_S, PAUSE_RATIO * (time.monotonic() - started_s)), GATHER_MAX_S))

    @staticmethod
    def _ready(refs: List[ray.ObjectRef], count: int, timeout_s: float) -> List[ray.ObjectRef]:
        return ray.wait(refs, num_returns=count, timeout=timeout_s, fetch_local=False)[0]

    def _to_the_end(self, window: List[ray.ObjectRef]) -> None:
        """Lets the tasks beyond the window have their turn."""
        if len(self._tasks) <= WINDOW:
            return
        for ref in window:
            if ref in self._tasks:
                self._tasks[ref] = self._tasks.pop(ref)

    def _release_actors(self) -> None:
        for actor_id, actor in list(self._actors.items()):
            state, node_id = ray_internals.actor_state(actor_id)
            started = state == "ALIVE"
            if state == "DEAD" or started and (not actor.held or node_id != actor.node_id):
                del self._actors[actor_id]
                self._client.release(actor.placement)
