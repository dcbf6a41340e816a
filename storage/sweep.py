"""The sweep of the inbox: photos whose event never came."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from face3d.messages import ObjectCreated
from storage.client import Storage
from storage.intake import is_directory_key
from storage.layout import can_be_key

#: Objects that are compared with the jobs table at a time: one page of a listing.
SWEEP_PAGE = 1000

#: Which of these (key, etag) pairs have a job?
KnownPairs = Callable[[Sequence[tuple[str, str]]], set[tuple[str, str]]]


def find_unknown(storage: Storage, bucket: str, known: KnownPairs) -> Iterator[ObjectCreated]:
    """Yield the objects of a bucket that no job was made of, each once.

    Whether one of them is a photo, and with which options, intake finds out by HEAD, as for an event. A key
    that the database cannot hold is not asked about: it has no job, and intake refuses it.

    Args:
        storage: where to list.
        bucket: the inbox.
        known: returns those of up to `SWEEP_PAGE` pairs that have a job.

    Raises:
        StorageUnavailable: the listing broke off; what was yielded before holds.
    """
    objects = ((info.key, info.etag) for info in storage.list(bucket) if not is_directory_key(info.key))
    while page := list(islice(objects, SWEEP_PAGE)):
        have = known([pair for pair in page if can_be_key(pair[0])])
        for key, etag in page:
            if (key, etag) not in have:
                yield ObjectCreated(bucket=bucket, key=key)
