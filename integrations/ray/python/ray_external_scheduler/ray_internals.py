"""All of Ray that is not public API, in one place.

Ray has no public hook for the submission of tasks, for a node's unused resources, or for the state of an actor. What is
used here is the same in Ray 2.39 and 2.60; `check` says so where it is not.
"""

from __future__ import annotations

import functools
import threading
import uuid
import weakref
from typing import Any, Callable, Dict, Mapping, Tuple

import ray
import ray._private.state
import ray._private.worker
from ray.actor import ActorClass
from ray.remote_function import RemoteFunction
from ray.util.placement_group import get_current_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

VERSION_MIN = (2, 39)
#: Where a function that joins keeps the settings that it carries.
_MARK = "__ray_external_scheduler__"

#: Takes the original `_remote`, its object, its arguments and options, and submits.
Submit = Callable[[Callable[..., Any], Any, Dict[str, Any]], Any]

_originals: Dict[str, Any] = {}
_carrying = threading.Lock()
_carrying_functions: "weakref.WeakSet[RemoteFunction]" = weakref.WeakSet()
_carrying_classes: "weakref.WeakSet[Any]" = weakref.WeakSet()


class UnsupportedRayError(RuntimeError):
    """This version of Ray lacks something that is needed."""


def check() -> None:
    """Raises UnsupportedRayError where this Ray is not as we know it."""
    version = tuple(int(part) for part in ray.__version__.split(".")[:2])
    needed = (
        (RemoteFunction, "_remote"),
        (ActorClass, "_remote"),
        (ray._private.state, "total_resources_per_node"),
        (ray._private.state, "available_resources_per_node"),
        (ray._private.state, "actors"),
        (ray._private.worker.Worker, "current_cluster_and_job"),
        (ray._private.worker.Worker, "should_capture_child_tasks_in_placement_group"),
    )
    missing = [f"{owner.__name__}.{name}" for owner, name in needed if not hasattr(owner, name)]
    if version < VERSION_MIN or missing:
        raise UnsupportedRayError(
            f"Ray {ray.__version__} is not supported: needs 2.39 or later"
            + (f", and it has no {', '.join(missing)}" if missing else "")
        )


def cluster_and_job() -> Tuple[str, str]:
    """The hexadecimal IDs of the cluster and of the job that this process works for."""
    cluster, job = ray._private.worker.global_worker.current_cluster_and_job
    return cluster.hex(), job.hex()


def is_client() -> bool:
    """Whether this process reaches Ray through Ray Client (`ray://`)."""
    return bool(ray.util.client.ray.is_connected())


def total_resources() -> Dict[str, Dict[str, float]]:
    """What each live node has, by hexadecimal node ID."""
    return ray._private.state.total_resources_per_node()


def available_resources() -> Dict[str, Dict[str, float]]:
    """What each live node has unused, by hexadecimal node ID. A resource that is used up is missing."""
    return ray._private.state.available_resources_per_node()


def actor_state(actor_id: str) -> Tuple[str, str]:
    """The state of an actor (`ALIVE`, `DEAD`, …) and the node that it is on, if any."""
    actor = ray._private.state.actors(actor_id)
    if not actor:
        return "DEAD", ""
    return actor["State"], actor["Address"]["NodeID"]


def actor_id(handle: Any) -> str:
    """The hexadecimal ID of an actor."""
    return handle._actor_id.hex()


def completion_ref(result: Any) -> Any:
    """The object that is ready when a task has ended, from what `.remote()` gave. None if there is none."""
    if isinstance(result, ray.ObjectRef):
        return result
    if isinstance(result, list):
        return result[0] if result else None
    return getattr(result, "_generator_ref", None)


def affinity(node_id: str) -> NodeAffinitySchedulingStrategy:
    """The strategy that starts a task on a node, or elsewhere if that is gone or has become too full meanwhile."""
    return NodeAffinitySchedulingStrategy(node_id, soft=True, _spill_on_unavailable=True)


def in_placement_group(options: Mapping[str, Any]) -> bool:
    """Whether what is submitted with these options goes into the placement group of its parent."""
    capture = options.get("placement_group_capture_child_tasks")
    if capture is None:
        capture = ray._private.worker.global_worker.should_capture_child_tasks_in_placement_group
    return bool(capture) and get_current_placement_group() is not None


def patch(submit_task: Submit, create_actor: Submit, before_shutdown: Callable[[], None]) -> None:
    """Sends every submission of this process through the given functions."""
    assert not _originals, "patched already"
    _originals.update(task=RemoteFunction._remote, actor=ActorClass._remote, shutdown=ray.shutdown)

    def through(original: Callable[..., Any], submit: Submit) -> Callable[..., Any]:
        @functools.wraps(original)
        def _remote(self: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            return submit(functools.partial(original, self, args, kwargs), self, options)

        return _remote

    original_shutdown = ray.shutdown

    @functools.wraps(original_shutdown)
    def shutdown(*args: Any, **kwargs: Any) -> None:
        # Threads of ours must not be inside Ray while it goes.
        before_shutdown()
        original_shutdown(*args, **kwargs)

    RemoteFunction._remote = through(RemoteFunction._remote, submit_task)
    ActorClass._remote = through(ActorClass._remote, create_actor)
    ray.shutdown = shutdown


def unpatch() -> None:
    """Gives Ray its own functions back."""
    if not _originals:
        return
    RemoteFunction._remote = _originals["task"]
    ActorClass._remote = _originals["actor"]
    ray.shutdown = _originals["shutdown"]
    _originals.clear()
    with _carrying:
        for remote_function in list(_carrying_functions):
            _replace(remote_function, _original(remote_function._function))
        for metadata in list(_carrying_classes):
            _replace_init(metadata, _original(metadata.modified_class.__init__))
        _carrying_functions.clear()
        _carrying_classes.clear()


def _joining(function: Callable[..., Any], settings: Dict[str, Any]) -> Callable[..., Any]:
    """The function, which first lets the worker that it runs in place its own tasks.

    It is pickled by value, as Ray does with the function itself, so a worker without this package runs it all the same.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            from ray_external_scheduler import session

            session.join(settings)
        except Exception:  # Whatever it is, the task must run.
            pass
        return function(*args, **kwargs)

    setattr(run, _MARK, settings)
    return run


def _original(function: Callable[..., Any]) -> Callable[..., Any]:
    return function.__wrapped__ if hasattr(function, _MARK) else function


def _replace(remote_function: RemoteFunction, function: Callable[..., Any]) -> None:
    """Makes Ray export another function in the place of the one it has."""
    remote_function._function = function
    remote_function._uuid = uuid.uuid4()
    remote_function._last_export_cluster_and_job = None


def carry_task(remote_function: RemoteFunction, settings: Dict[str, Any]) -> None:
    """Lets the workers that run this function place what it submits."""
    if getattr(remote_function._function, _MARK, None) == settings or remote_function._is_cross_language:
        return
    with _carrying:
        _replace(remote_function, _joining(_original(remote_function._function), settings))
        _carrying_functions.add(remote_function)


def _replace_init(metadata: Any, init: Callable[..., Any]) -> None:
    # The class is one of Ray's own, derived from the user's.
    metadata.modified_class.__init__ = init
    metadata.last_export_cluster_and_job = None


def carry_actor(actor_class: ActorClass, settings: Dict[str, Any]) -> None:
    """Lets the actors of this class place what they submit."""
    metadata = actor_class.__ray_metadata__
    if metadata.is_cross_language or getattr(metadata.modified_class.__init__, _MARK, None) == settings:
        return
    with _carrying:
        _replace_init(metadata, _joining(_original(metadata.modified_class.__init__), settings))
        _carrying_classes.add(metadata)
