"""What `face3d doctor` says of the inbox: where its photos lie, and who asks to send events of it."""

from collections.abc import Iterator

from cli.probing import Finding
from db.queries import find_hidden_photo
from db.session import make_session_factory
from db.subscriptions import list_subscriptions
from face3d.settings import Settings
from storage.client import Storage


def examine_inbox(settings: Settings) -> Iterator[Finding]:
    """Yield what there is to say of the inbox; nothing where all is usual.

    Raises:
        StorageUnavailable: the storage did not answer.
        sqlalchemy.exc.SQLAlchemyError: the database did not.
    """
    bucket = settings.bucket_inbox
    with make_session_factory(settings)() as session:
        hidden = find_hidden_photo(session)
        waiting = [row.topic for row in list_subscriptions(session) if row.confirmed_at is None]
    if hidden:
        yield Finding(
            subject="inbox keys",
            ok=False,
            detail=f"the photo of job {hidden} lies below a folder that SeaweedFS never lists",
            remedy="name no folder *.versions and none .uploads: what lies there is found by its event "
            "alone, by no sweep",
        )
    if waiting:
        yield Finding(
            subject="SNS topics",
            ok=False,
            detail=f"wait: {', '.join(waiting)}",
            remedy="face3d events confirm",
        )
    if Storage.from_settings(settings).keeps_versions(bucket):
        yield Finding(
            subject="inbox versions",
            ok=True,
            detail=f"{bucket} keeps old versions; each new content is a job of its own",
        )
