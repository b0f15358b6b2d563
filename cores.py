"""How many cores this process may use: of those of the machine, what affinity and a container's quota leave."""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Cores that may be used at once, at least 1; a part of a core counts as one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpu_quota(membership: Path = MEMBERSHIP, mount: Path = CGROUPS) -> float | None:
    """Cores that the control groups of this process allow it, the fewest of all that it is in; None for no limit."""
    quotas = []
    with suppress(OSError):
        for folder in _groups(membership.read_text(), mount):
            with suppress(OSError):
                quotas.append(quota_v2((folder / "cpu.max").read_text()))
            with suppress(OSError):
                files = (folder / f"cpu.cfs_{name}_us" for name in ("quota", "period"))
                quotas.append(quota_v1(*(file.read_text() for file in files)))
    return min((quota for quota in quotas if quota is not None), default=None)


def _groups(membership: str, mount: Path) -> Iterator[Path]:
    """The folders that may hold limits of the CPU, from the text of /proc/self/cgroup: lines "0::/a/b" (version 2)
    or "4:cpu,cpuacct:/a/b" (version 1). A limit of a group above holds too."""
    for line in membership.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = mount / (controllers and "cpu")
        group = root / path.lstrip("/")
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(root))


def quota_v2(text: str) -> float | None:
    """Cores that a cpu.max such as "150000 100000" allows; None for "max 100000" and what is no quota."""
    quota, _, period = text.strip().partition(" ")
    return quota_v1(quota, period or "100000")


def quota_v1(quota: str, period: str) -> float | None:
    """Cores that cpu.cfs_quota_us and cpu.cfs_period_us allow; None for a quota of -1 and what is no quota."""
    with suppress(ValueError):
        microseconds, of = int(quota), int(period)
        if microseconds > 0 and of > 0:
            return microseconds / of
    return None
