"""The chain of a job: preprocess, geometry, texture, packaging; ids only in its messages."""

from celery import Celery, chain, signature
from celery.canvas import Signature

from db.outbox import Publication


def job_chain(app: Celery, publication: Publication) -> Signature:
    """Return the chain of a job's stages that are not done.

    No signature names a queue: Celery publishes each next step when the one before ends, and the router
    places it at that moment.
    """
    steps = [
        signature(
            f"face3d.{stage.value}",
            args=(publication.job_id, publication.dispatch),
            immutable=True,
            app=app,
        )
        for stage in publication.stages
    ]
    return chain(*steps) if len(steps) > 1 else steps[0]
