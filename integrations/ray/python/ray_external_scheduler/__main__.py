"""Runs a program with its tasks and actors placed: ``python -m ray_external_scheduler [options] program.py …``."""

from __future__ import annotations

import argparse
import functools
import os
import runpy
import sys
from typing import Any, Dict

import ray

from . import session
from .config import STRATEGIES
from .wire import POLICIES


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ray_external_scheduler", description=__doc__.split(":")[0] + ".")
    parser.add_argument("--address", help="HOST:PORT of the scheduler; several with commas between")
    parser.add_argument("--policy", choices=POLICIES, default="view")
    parser.add_argument("--timeout-ms", type=float, default=5, help="longest wait of a submission (default 5)")
    parser.add_argument("--hand-over", action="append", choices=STRATEGIES, default=[], metavar="STRATEGY")
    parser.add_argument("--when-full", choices=["ray", "queue"], default="ray")
    parser.add_argument("--start", action="store_true", help="start a server where none answers")
    parser.add_argument("-m", dest="module", action="store_true", help="the program is a module")
    parser.add_argument("program")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    return parser.parse_args()


def install_after_init(options: Dict[str, Any]) -> None:
    """Has `ray.init` install the placing."""
    original = ray.init

    @functools.wraps(original)
    def init(*args: Any, **kwargs: Any) -> Any:
        context = original(*args, **kwargs)
        if not session.status()["installed"]:
            session.install(**options)
        return context

    ray.init = init


def main() -> None:
    arguments = _arguments()
    install_after_init(
        {
            "address": arguments.address,
            "policy": arguments.policy,
            "timeout_ms": arguments.timeout_ms,
            "strategies": arguments.hand_over,
            "when_full": arguments.when_full,
            "start": arguments.start,
        }
    )
    sys.argv = [arguments.program, *arguments.arguments]
    if arguments.module:
        runpy.run_module(arguments.program, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(arguments.program))
        runpy.run_path(arguments.program, run_name="__main__")


if __name__ == "__main__":
    main()
