"""Standard Ray against external placement, in turns on one cluster of raylets on this machine."""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
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
#: Numbers of raylets that the experiments of the original report ran on.
RAYLETS = (1, 2, 4)
CPUS_PER_RAYLET = 4
HEADER = "| | standard, s | external, s | ratio | placed |\n|---|---|---|---|---|"


@dataclasses.dataclass
class Row:
    """One line of a table: the seconds of each repetition, and what became of the submissions."""

    name: str
    standard_s: list
    external_s: list
    placed: int
    left_to_ray: dict

    def ratio(self):
        return statistics.mean(self.external_s) / statistics.mean(self.standard_s)

    def line(self):
        def told(values):
            deviation = statistics.stdev(values) if len(values) > 1 else 0.0
            return f"{statistics.mean(values):.2f} ± {deviation:.2f}"

        submitted = self.placed + sum(self.left_to_ray.values())
        placed = f"{self.placed} of {submitted}" if submitted else "-"
        return f"| {self.name} | {told(self.standard_s)} | {told(self.external_s)} | {self.ratio():.3f} | {placed} |"


def arguments(description, repetitions, **further):
    """The arguments of an experiment. Further ones are given with their defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--repetitions", type=int, default=repetitions)
    parser.add_argument("--results", type=pathlib.Path, metavar="DIRECTORY", help="write the seconds there, as JSON")
    for name, default in further.items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(default), default=default)
    return parser.parse_args()


@contextlib.contextmanager
def scheduler():
    """A server, and its address."""
    binary = os.environ.get(config.BINARY_VARIABLE) or shutil.which("external-scheduler")
    if not binary:
        sys.exit(f"set {config.BINARY_VARIABLE} to the built external-scheduler")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [binary, "serve", "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not config.answers(("127.0.0.1", port)):
            if server.poll() is not None:
                sys.exit(f"{binary} does not serve")
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


def run(kind, workload, address, options):
    """Seconds that a workload took, and the status at its end where it was placed externally."""
    if kind == "external":
        ray_external_scheduler.install(address, timeout_ms=TIMEOUT_MS, **options)
    settle()
    started_s = time.perf_counter()
    workload()
    seconds = time.perf_counter() - started_s
    status = ray_external_scheduler.status()
    ray_external_scheduler.uninstall()
    return seconds, status


def compare(name, workload, repetitions, address, warm_up=None, **options):
    """A row, after one run of both kinds to start the workers: of the workload, or of a shorter one."""
    kinds = ("standard", "external")
    for kind in kinds:
        run(kind, warm_up or workload, address, options)
    row = Row(name, [], [], 0, {})
    for repetition in range(repetitions):
        # Which one goes first alternates, too.
        for kind in kinds if repetition % 2 == 0 else reversed(kinds):
            seconds, status = run(kind, workload, address, options)
            getattr(row, f"{kind}_s").append(seconds)
            if kind == "external":
                row.placed += status["placed"]
                for reason, count in status["left_to_ray"].items():
                    row.left_to_ray[reason] = row.left_to_ray.get(reason, 0) + count
    print(row.line(), flush=True)
    return row


def on_raylets(name, workload, repetitions, address, **options):
    """A row for each number of raylets."""
    for raylets in RAYLETS:
        with cluster([(CPUS_PER_RAYLET, 0)] * raylets):
            yield compare(f"{name}, {raylets} raylet{'s'[:raylets > 1]}", workload, repetitions, address, **options)


def write(directory, title, rows):
    """Writes the rows of a table for `chart`."""
    if directory:
        result = {"title": title, "ray": ray.__version__, "rows": [dataclasses.asdict(row) for row in rows]}
        name = pathlib.Path(sys.argv[0]).name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
