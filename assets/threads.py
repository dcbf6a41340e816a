"""How many threads the making of one asset takes. None spins: jobs side by side share the cores."""

import os

_CORES = len(os.sched_getaffinity(0))

#: For work inside a library that needs no interpreter: deflating, JPEG. Beside other jobs these threads take
#: turns, and cost nothing more.
LIBRARY_THREADS = _CORES

#: For numpy in pieces that fit a core's cache: each call takes the interpreter's lock, so that more than a
#: few threads wait for each other, and cost more than they save.
ARRAY_THREADS = min(4, _CORES)
