"""Standard Ray against external placement, interleaved on one cluster of raylets on this machine."""

import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time

import ray
import ray_external_scheduler
from ray.cluster_utils import Cluster
from ray_external_scheduler import config

#: The machine runs all raylets, so the scheduler does not always get to run within the usual 5 ms.
TIMEOUT_MS = 50


@contextlib.contextmanager
def scheduler():
    """A server, and its address."""
    binary = os.environ.get(config.BINARY_VARIABLE) or shutil.which("external-scheduler")
    if not binary:
        sys.exit(f"set {config.BINARY_VARIABLE} to the built external-scheduler")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [binary, "serve", "--port", str(port), "--lease", config.LEASE]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not config.answers(("127.0.0.1", port)):
            time.sleep(0.02)
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@contextlib.contextmanager
def cluster(shapes):
    """A cluster with nodes of these CPUs and GPUs, and a driver connected to it."""
    cluster = Cluster()
    for cpus, gpus in shapes:
        cluster.add_node(num_cpus=cpus, num_gpus=gpus, object_store_memory=80 * 2**20)
    ray.init(address=cluster.address, logging_level="WARNING", log_to_driver=False)
    try:
        yield
    finally:
        ray_external_scheduler.uninstall()
        ray.shutdown()
        cluster.shutdown()


def settle():
    """Waits until all that was running has ended, so that no repetition meets the one before."""
    while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"]:
        time.sleep(0.1)
    time.sleep(1)


def compare(workload, repetitions, address, **options):
    """Seconds that a workload took under both, in turns, after one run to warm the workers up."""
    workload()
    seconds = {"standard": [], "external": []}
    placed = left = 0
    for repetition in range(repetitions):
        # Which one goes first alternates, too.
        for kind in ("standard", "external") if repetition % 2 == 0 else ("external", "standard"):
            if kind == "external":
                ray_external_scheduler.install(address, timeout_ms=TIMEOUT_MS, **options)
            settle()
            started_s = time.perf_counter()
            workload()
            seconds[kind].append(time.perf_counter() - started_s)
            if kind == "external":
                status = ray_external_scheduler.status()
                placed += status["placed"]
                left += sum(status["left_to_ray"].values())
                ray_external_scheduler.uninstall()
    return {"seconds": seconds, "placed": placed, "left_to_ray": left}


def line(name, result):
    """One line of a table: mean and standard deviation of both, their ratio, and how much was placed."""
    standard, external = (result["seconds"][kind] for kind in ("standard", "external"))

    def told(values):
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        return f"{statistics.mean(values):.2f} ± {deviation:.2f}"

    ratio = statistics.mean(external) / statistics.mean(standard)
    placed = result["placed"] / (result["placed"] + result["left_to_ray"])
    return f"| {name} | {told(standard)} | {told(external)} | {ratio:.3f} | {placed:.0%} |"


HEADER = "| | standard, s | external, s | ratio | placed |\n|---|---|---|---|---|"
