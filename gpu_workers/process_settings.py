"""What belongs to a whole process that serves a GPU; its main sets it, never a library or an engine."""

import gc
import sys

#: Python's own is 5 ms, a fifth of what a photo may take.
_SWITCH_SECONDS = 0.0005


def prepare_process(device: str) -> None:
    """Set the process up to serve an engine that has warmed up on a device; on a CPU nothing changes."""
    if not device.startswith("cuda"):
        return
    import torch

    # What torch does on this host is small, and its idle threads take cores from the encoders.
    torch.set_num_threads(1)
    # Stages of one photo are threads of many short calls: each waits this long for its turn.
    sys.setswitchinterval(_SWITCH_SECONDS)
    # What is there now stays: a collection that went through all of it would hold up a photo.
    gc.collect()
    gc.freeze()
