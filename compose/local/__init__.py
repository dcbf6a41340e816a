"""The local stack: real servers out of pinned wheels, and our own processes, under one supervisor.

with Stack(state_dir, services=SERVERS) as stack:
    stack.settings    # a face3d.settings.Settings that names the running servers
"""

from compose.local.stack import ALL, SERVERS, Stack, temporary_state_dir

__all__ = ["ALL", "SERVERS", "Stack", "temporary_state_dir"]
