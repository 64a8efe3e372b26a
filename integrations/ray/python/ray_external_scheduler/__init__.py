"""Ray's tasks and actors, placed by an external scheduler.

    import ray, ray_external_scheduler
    ray.init("auto")
    ray_external_scheduler.install()
"""

from .session import explain, install, status, uninstall

__all__ = ["explain", "install", "status", "uninstall"]
