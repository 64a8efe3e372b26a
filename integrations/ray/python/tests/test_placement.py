"""Where tasks and actors of a real Ray run."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import ray
from conftest import PATIENT_MS, PATIENT_S, REPOSITORY, SHAPES, eventually, idle, is_idle, released, reserved, view
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import ray_external_scheduler
from ray_external_scheduler import ray_internals

ALL = sum(cpus for cpus, _ in SHAPES)


def node():
    return ray.get_runtime_context().get_node_id()


@ray.remote
def task(duration_s=0.0):
    # A cancellation does not wake a thread that sleeps.
    for _ in range(int(duration_s / 0.1)):
        time.sleep(0.1)
    return node()


@ray.remote
def parent(count, **options):
    places = ray.get([task.options(**options).remote(0.1) for _ in range(count)])
    return places, ray_external_scheduler.status()["placed"]


@ray.remote(num_cpus=1)
class Actor:
    def node(self):
        return node()

    def parent(self, count):
        places = ray.get([task.remote(0.1) for _ in range(count)])
        return places, ray_external_scheduler.status()["placed"]

    def process(self):
        return os.getpid()


def placed():
    return ray_external_scheduler.status()["placed"]


def test_packing_and_spreading_show_in_where_tasks_run(cluster, install):
    counts = {}
    for policy in ("first-fit", "spread"):
        install(policy=policy)
        places = ray.get([task.remote(1) for _ in range(4)])
        counts[policy] = len(set(places))
        assert placed() == 4
        released()
        ray_external_scheduler.uninstall()
    assert counts == {"first-fit": 1, "spread": 4}


def test_gpu_nodes_are_kept_for_gpu_tasks(cluster, install):
    install()
    cpu_tasks = [task.remote(2) for _ in range(8)]
    gpu_tasks = [task.options(num_gpus=1).remote(2) for _ in range(6)]
    assert cluster.shapes(ray.get(cpu_tasks)) == {(4, 0): 8}
    assert cluster.shapes(ray.get(gpu_tasks)) == {(4, 2): 2, (4, 4): 4}
    assert placed() == 14
    released()


def test_actors_are_placed_and_released_when_they_die(cluster, install):
    install()
    actors = [Actor.options(num_gpus=1).remote() for _ in range(2)]
    places = ray.get([actor.node.remote() for actor in actors])
    assert all(gpus for _, gpus in cluster.shapes(places))
    assert placed() == 2
    assert reserved() == {"CPU", "GPU"}
    ray.kill(actors[0])
    del actors
    released()
    # Without options an actor needs a CPU only to start.
    light = ray.remote(type("Light", (), {"node": lambda self: node()})).remote()
    assert ray.get(light.node.remote())
    released()
    assert placed() == 3


def test_nested_tasks_are_placed_in_the_same_view(cluster, install):
    install()
    places, nested = ray.get(parent.remote(3, num_gpus=1))
    assert nested == 3 and all(gpus for _, gpus in cluster.shapes(places))
    actor = Actor.remote()
    _, nested = ray.get(actor.parent.remote(3))
    assert nested == 3
    del actor
    released()


def test_generators_failures_and_cancellation_are_released(cluster, install):
    install()

    @ray.remote(max_retries=0)
    def fail():
        raise ValueError("as it should")

    @ray.remote
    def count():
        for number in range(3):
            yield number

    @ray.remote(num_returns=2)
    def two():
        return 1, 2

    with pytest.raises(ValueError):
        ray.get(fail.remote())
    assert [ray.get(ref) for ref in count.remote()] == [0, 1, 2]
    assert ray.get(two.remote()) == [1, 2]
    running, unresolved = task.remote(60), task.remote(60)
    waiting = task.remote(running)
    time.sleep(0.5)
    for ref in (waiting, running, unresolved):
        ray.cancel(ref)
    for ref in (waiting, running, unresolved):
        with pytest.raises(ray.exceptions.RayError):
            ray.get(ref)
    assert placed() == 6, ray_external_scheduler.status()["left_to_ray"]
    released()


def test_a_killed_worker_is_released_and_its_task_tried_again(cluster, install, tmp_path):
    install()

    @ray.remote(max_retries=1)
    def die_once(mark):
        if not os.path.exists(mark):
            open(mark, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return "alive"

    @ray.remote(max_retries=0)
    def die_as_parent():
        nested = [task.remote(60) for _ in range(2)]
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
        return nested

    assert ray.get(die_once.remote(str(tmp_path / "mark"))) == "alive"
    released()
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(die_as_parent.remote())
    # Its tasks die with it, and only the agent knows what was placed for them.
    released()


def test_after_any_mix_of_ends_nothing_stays_reserved(cluster, install, request):
    install()
    seed = random.randrange(2**32)
    print("seed", seed)
    choose = random.Random(seed).choice

    @ray.remote(max_retries=0)
    def end(how):
        if how == "fails":
            raise ValueError("as it should")
        if how in ("is killed", "is killed as parent"):
            nested = [task.remote(60)] if how == "is killed as parent" else []
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)
            return nested
        return task.remote(60 if how == "is cancelled" else 0)

    ends = ("ends", "fails", "is cancelled", "is killed", "is killed as parent", "actor ends", "actor is killed")
    tasks, actors = [], []
    for how in [*ends, *(choose(ends) for _ in range(18))]:
        if how.startswith("actor"):
            actors.append((how, Actor.options(num_gpus=choose((0, 0.5))).remote()))
        else:
            tasks.append((how, end.options(num_cpus=choose((0.5, 1, 2))).remote(how)))
        time.sleep(0.05)
    for how, actor in actors:
        # Does not wait for it: it may not even have started.
        actor.__ray_terminate__.remote() if how == "actor ends" else ray.kill(actor)
    del actor, actors
    for how, ref in tasks:
        if how == "is cancelled":
            ray.cancel(ref, recursive=True)
    for _, ref in tasks:
        try:
            ray.get(ref, timeout=PATIENT_S)
        except (ray.exceptions.RayError, ValueError):
            pass
    del ref, tasks
    assert placed() > 0
    eventually(lambda: ray.available_resources().get("CPU") == ray.cluster_resources()["CPU"])
    released()


def test_explicit_strategies_stay_with_ray(cluster, install):
    install()
    here = ray.nodes()[0]["NodeID"]
    affinity = NodeAffinitySchedulingStrategy(here, soft=False)
    assert ray.get(task.options(scheduling_strategy=affinity).remote()) == here
    ray.get([task.options(scheduling_strategy="SPREAD").remote() for _ in range(4)])
    group = ray.util.placement_group([{"CPU": 1}])
    ray.get(group.ready())
    strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(
        group, placement_group_capture_child_tasks=True
    )
    ray.get(parent.options(scheduling_strategy=strategy).remote(0))
    assert placed() == 0
    assert ray_external_scheduler.status()["left_to_ray"]["strategy_of_ray"] >= 6
    ray.util.remove_placement_group(group)


def test_spread_is_handed_over(cluster, install):
    install(strategies={"SPREAD"})
    places = ray.get([task.options(scheduling_strategy="SPREAD").remote(1) for _ in range(4)])
    assert len(set(places)) == 4 and placed() == 4
    released()


def test_what_others_use_is_avoided(cluster, install):
    install()
    small = [entry["NodeID"] for entry in ray.nodes() if "GPU" not in entry["Resources"]]
    affinity = NodeAffinitySchedulingStrategy(small[0], soft=False)
    foreign = Actor.options(num_cpus=4, scheduling_strategy=affinity).remote()
    ray.get(foreign.node.remote())
    eventually(lambda: not is_idle())
    assert set(ray.get([task.remote(0.5) for _ in range(4)])) == {small[1]}
    ray.kill(foreign)
    idle()


def test_where_nothing_is_free_ray_decides(cluster, install):
    install()
    refs = [task.remote(0.5) for _ in range(2 * ALL)]
    ray.get(refs)
    status = ray_external_scheduler.status()
    assert status["placed"] >= ALL and status["placed"] + sum(status["left_to_ray"].values()) == 2 * ALL
    assert status["left_to_ray"]["nothing_free"] > 0
    released()


def test_queueing_is_the_schedulers_on_request(cluster, install):
    install(when_full="queue")
    ray.get([task.remote(0.2) for _ in range(2 * ALL)])
    assert placed() == 2 * ALL
    released()


def test_an_infeasible_demand_is_left_to_ray_and_explained(cluster, install):
    install()
    ref = task.options(num_gpus=5).remote()
    assert ray_external_scheduler.status()["left_to_ray"] == {"infeasible": 1}
    ray.cancel(ref)
    explanation = ray_external_scheduler.explain(num_gpus=5)
    assert explanation["verdict"] == "infeasible" and explanation["summary"]
    assert cluster.shape(ray_external_scheduler.explain(num_gpus=4)["node"]) == (4, 4)


def test_uninstalling_restores_ray(cluster, install):
    originals = ray.remote_function.RemoteFunction._remote, ray.actor.ActorClass._remote, ray.shutdown

    @ray.remote
    def joined():
        return ray_external_scheduler.status()["installed"]

    function = joined._function
    install()
    assert ray.get(joined.remote()) is True
    assert ray.remote_function.RemoteFunction._remote is not originals[0]
    ray_external_scheduler.uninstall()
    assert originals == (ray.remote_function.RemoteFunction._remote, ray.actor.ActorClass._remote, ray.shutdown)
    assert joined._function is function
    ray.get(joined.remote())
    assert ray_external_scheduler.status() == {"installed": False}
    with pytest.raises(RuntimeError):
        ray_external_scheduler.explain(num_cpus=1)


def test_two_drivers_share_one_view(cluster, server, install, tmp_path):
    install(policy="first-fit")
    end = tmp_path / "end"

    @ray.remote
    def run_until_the_end():
        while not end.exists():
            time.sleep(0.1)
        return node()

    mine = [run_until_the_end.remote() for _ in range(4)]
    program = f"""
import ray, time, ray_external_scheduler
ray.init({cluster.cluster.address!r}, logging_level="WARNING")
ray_external_scheduler.install({server.address!r}, policy="first-fit", timeout_ms={PATIENT_MS})
@ray.remote
def where():
    return ray.get_runtime_context().get_node_id()
print(*ray.get([where.remote() for _ in range(4)]))
assert ray_external_scheduler.status()["placed"] == 4
"""
    other = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENT_S, check=False, cwd=REPOSITORY
    )
    end.touch()
    assert other.returncode == 0, other.stderr
    theirs = other.stdout.split()
    assert len(theirs) == 4 and not set(theirs) & set(ray.get(mine))
    released()


def test_a_program_is_run_unchanged(cluster, server, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, ray\n"
        f"ray.init({cluster.cluster.address!r}, logging_level='WARNING')\n"
        "@ray.remote\n"
        "def answer():\n"
        "    return 42\n"
        "print(ray.get(answer.remote()), sys.argv[1])\n"
        "import ray_external_scheduler\n"
        "print(ray_external_scheduler.status()['placed'])\n"
    )
    command = [sys.executable, "-m", "ray_external_scheduler", "--timeout-ms", str(PATIENT_MS)]
    command += ["--address", server.address, str(program), "argument"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENT_S, check=False, cwd=tmp_path)
    assert run.stdout.split() == ["42", "argument", "1"], run.stderr


def test_an_older_ray_is_refused(monkeypatch):
    monkeypatch.setattr(ray, "__version__", "2.38.0")
    with pytest.raises(ray_internals.UnsupportedRayError, match="2.38.0"):
        ray_internals.check()


def test_the_view_names_the_nodes_of_ray(cluster, install):
    install()
    assert {entry["node_id"] for entry in view()["nodes"]} == {entry["NodeID"] for entry in ray.nodes()}
