"""One photo in, one map out, in this process: what others time."""
