"""How torch's CPU threads wait for each other; set before torch is imported, for every command.

Threads that wait by spinning are quick while each has a core of its own. Where cores are shared,
with other processes or with other guests of a virtual machine, a thread spins away the time that
the one it waits for needs: updates then take ten times as long. `pdpipe bench --waiting` measures
it. No result depends on it.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

SPINS = "GOMP_SPINCOUNT"  # of GNU OpenMP, which torch's Linux builds use: turns of its waiting loop
POLICY = "OMP_WAIT_POLICY"  # the standard's name for the same choice; it also ends in a spin count
A_SHORT_SPIN = "10000"  # some 20 us: longer than most waits of an update, shorter than a time slice


def share_cores(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have torch's threads spin for a short while only, unless the user has set how they wait.

    It has no effect on a torch that is imported already.
    """
    if POLICY not in environment:
        environment.setdefault(SPINS, A_SHORT_SPIN)
