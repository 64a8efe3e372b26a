"""What a task or an actor demands, and whether its placement is ours to decide.

The rules are those of Ray's documentation on resources and scheduling strategies.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, NamedTuple, Optional

from . import wire
from .config import STRATEGIES, Settings


class Demand(NamedTuple):
    """The resources that are needed to start."""

    amounts: Dict[str, float]
    #: Whether they stay taken while it runs. An actor without any options needs a CPU only to start.
    held: bool


def _explicit(options: Mapping[str, Any]) -> Dict[str, float]:
    amounts = dict(options.get("resources") or {})
    for option, name in (("num_cpus", "CPU"), ("num_gpus", "GPU"), ("memory", "memory")):
        if options.get(option) is not None:
            amounts[name] = options[option]
    if options.get("accelerator_type") is not None:
        amounts[f"accelerator_type:{options['accelerator_type']}"] = 0.001
    return amounts


def of_task(options: Mapping[str, Any]) -> Demand:
    """The demand of a task with these options: one CPU unless they say otherwise."""
    return Demand({"CPU": 1, **_explicit(options)}, held=True)


def of_actor(options: Mapping[str, Any]) -> Optional[Demand]:
    """The demand of an actor with these options. None where it demands nothing: Ray starts it on a random node then,
    whatever its strategy says."""
    amounts = _explicit(options)
    if amounts.keys() <= {"memory"}:
        return Demand({**amounts, "CPU": 1}, held=False)
    return Demand(amounts, held=True) if any(amounts.values()) else None


def policy(options: Mapping[str, Any], settings: Settings) -> Optional[int]:
    """The number of the policy that places these options, or None where the placement stays Ray's."""
    if options.get("label_selector") or options.get("fallback_strategy") or options.get("num_returns") == 0:
        return None
    if options.get("placement_group", "default") not in ("default", None):
        return None
    strategy = options.get("scheduling_strategy") or "DEFAULT"
    if not isinstance(strategy, str) or strategy not in settings.strategies:
        return None
    return wire.POLICIES[STRATEGIES[strategy] or settings.policy]
