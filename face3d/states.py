"""The words of docs/design.md, section 1 as enums: stages, priority classes, states."""

from enum import StrEnum


class StageName(StrEnum):
    """The four stages, in the order in which a job passes them."""

    PREPROCESS = "preprocess"
    GEOMETRY = "geometry"
    TEXTURE = "texture"
    PACKAGING = "packaging"


#: The order of the chain.
STAGES: tuple[StageName, ...] = tuple(StageName)

#: Stages that gain from a GPU; `packaging` runs on `cpu` queues only.
GPU_STAGES: frozenset[StageName] = frozenset({StageName.PREPROCESS, StageName.GEOMETRY, StageName.TEXTURE})


class PriorityClass(StrEnum):
    """How urgent a job is: option `tier` says it, and it is part of a queue's name."""

    #: Someone waits: the page, the API.
    INTERACTIVE = "interactive"
    #: Files dropped in the bucket.
    BATCH = "batch"


class JobState(StrEnum):
    """States of a job. `ready`, `failed`, `cancelled` and `erased` are terminal."""

    #: The row exists; no stage has started.
    ACCEPTED = "accepted"
    #: A stage has started.
    RUNNING = "running"
    #: The asset is complete.
    READY = "ready"
    #: The job ended with an error code.
    FAILED = "failed"
    #: A person stopped it.
    CANCELLED = "cancelled"
    #: Photo, artifacts and asset were deleted on request or by retention.
    ERASED = "erased"


#: A job in one of these states never runs again by itself.
TERMINAL_JOB_STATES: frozenset[JobState] = frozenset(
    {JobState.READY, JobState.FAILED, JobState.CANCELLED, JobState.ERASED}
)


class StageState(StrEnum):
    """States of one stage of a job."""

    #: An earlier stage has not ended yet.
    WAITING = "waiting"
    #: A message is on its way to a worker.
    DISPATCHED = "dispatched"
    #: A worker holds the lease.
    RUNNING = "running"
    #: The fenced commit named the prefix that counts.
    DONE = "done"
    #: The job ended here.
    FAILED = "failed"


class AttemptOutcome(StrEnum):
    """How one attempt of a stage ended."""

    #: The worker holds, or held, the lease and has not reported yet.
    RUNNING = "running"
    #: Its commit counted.
    DONE = "done"
    #: It reported an error.
    FAILED = "failed"
    #: Its lease ran out: the worker died, froze or lost the database.
    LOST = "lost"
    #: Its job was cancelled or erased while it worked.
    ABANDONED = "abandoned"


class Quality(StrEnum):
    """What the quality report says of a ready asset."""

    GOOD = "good"
    USABLE = "usable"
    REVIEW = "review"
