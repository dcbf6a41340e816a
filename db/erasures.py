"""Photos that were erased and must not come back: a digest each, for a day.

The object is deleted before its row forgets it, so what could bring it back is only what looked at it before:
an event or a sweep that is under way, or a listing that lags behind. A new upload of the same photo is newer.
"""

import hashlib
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

#: Far longer than any event or listing is under way.
REMEMBERED_SECONDS = 86400.0


def photo_digest(bucket: str, key: str, etag: str) -> str:
    """Return the hex digest that stands for a photo; neither key nor contents can be read from it."""
    return hashlib.sha256("\0".join((bucket, key, etag)).encode(errors="surrogatepass")).hexdigest()


def remember(session: Session, job_id: str, bucket: str, key: str, etag: str) -> None:
    """Refuse new jobs of a photo from now on; `date` says later which uploads are newer."""
    session.execute(
        text(
            "INSERT INTO erased_photos (digest, job_id) VALUES (:digest, :job_id)"
            " ON CONFLICT (digest) DO UPDATE SET job_id = excluded.job_id, modified_at = NULL,"
            " erased_at = now()"
        ),
        {"digest": photo_digest(bucket, key, etag), "job_id": job_id},
    )


def date(session: Session, job_id: str, modified_at: datetime | None) -> None:
    """Note when the erased object had been written: what was written later is a new upload."""
    session.execute(
        text("UPDATE erased_photos SET modified_at = :modified_at, erased_at = now() WHERE job_id = :job_id"),
        {"modified_at": modified_at, "job_id": job_id},
    )


def find_erased(session: Session, bucket: str, key: str, etag: str) -> str:
    """Return the id of the erased job of a photo."""
    found = session.execute(
        text("SELECT job_id FROM erased_photos WHERE digest = :digest"),
        {"digest": photo_digest(bucket, key, etag)},
    )
    return str(found.scalar_one())


def forget_old(session: Session) -> int:
    """Forget the photos that were erased long ago; return how many."""
    gone = session.execute(
        text(
            "DELETE FROM erased_photos WHERE erased_at < now() - make_interval(secs => :age) RETURNING digest"
        ),
        {"age": REMEMBERED_SECONDS},
    )
    return len(gone.all())
