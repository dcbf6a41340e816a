"""Whether a server does what it is there for: each takes a small write, which leaves nothing behind.

A server whose disk was full may answer for minutes, or for ever, and take nothing. Each function returns what
is wrong in a few words, or None.
"""

import http.client
import socket
from collections.abc import Sequence

#: A running server that takes a small write in so long works, however busy the machine.
WRITE_SECONDS = 5.0
#: One that starts is asked again at once.
START_SECONDS = 0.9

#: A marker of a directory, which is no photo to anyone who reads the inbox.
_PROBE_KEY, _PROBE_TYPE = ".face3d-probe", "application/x-directory"


def find_storage_fault(
    port: int,
    keys: tuple[str, str],
    region: str,
    buckets: Sequence[str],
    seconds: float = WRITE_SECONDS,
) -> str | None:
    """Put and delete an object in every bucket: each has volumes of its own, which fail on their own.

    A bucket that is not there yet is no fault.

    Args:
        keys: access key and secret key.
        seconds: limit of each request.
    """
    for bucket in buckets:
        try:
            for method in ("PUT", "DELETE"):
                status = _ask_storage(port, method, f"/{bucket}/{_PROBE_KEY}", keys, region, seconds)
                if status == http.HTTPStatus.NOT_FOUND:
                    break
                if status >= http.HTTPStatus.MULTIPLE_CHOICES:
                    return f"{method} in bucket {bucket} was answered with {status}"
        except (OSError, http.client.HTTPException) as error:
            return f"bucket {bucket}: {error!r}"
    return None


def _ask_storage(
    port: int, method: str, path: str, keys: tuple[str, str], region: str, seconds: float
) -> int:
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    body = b"probe" if method == "PUT" else b""
    request = AWSRequest(
        method, f"http://127.0.0.1:{port}{path}", data=body, headers={"Content-Type": _PROBE_TYPE}
    )
    S3SigV4Auth(Credentials(*keys), "s3", region).add_auth(request)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request(method, path, body, dict(request.headers.items()))
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def find_database_fault(url: str, seconds: float = WRITE_SECONDS) -> str | None:
    """Write a record to PostgreSQL's log and wait until it is on the disk; it needs no table.

    Args:
        url: of a database, as libpq takes it.
    """
    import psycopg

    milliseconds = int(1000 * seconds)
    try:
        with psycopg.connect(
            url, connect_timeout=max(2, int(seconds)), options=f"-c statement_timeout={milliseconds}"
        ) as connection:
            connection.execute("SELECT pg_logical_emit_message(true, 'face3d', 'probe')")
    except psycopg.Error as error:
        return str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
    return None


def find_broker_fault(port: int, password: str, seconds: float = WRITE_SECONDS) -> str | None:
    """Set a key of Valkey, which refuses that while it cannot write its append-only file."""
    commands = f"AUTH {password}\r\nSET face3d:probe 1 EX 60\r\n"
    reply = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
            connection.sendall(commands.encode())
            while reply.count(b"\r\n") < 2:
                part = connection.recv(256)
                if not part:
                    return "it closed the connection"
                reply += part
    except OSError as error:
        return repr(error)
    answer = reply.split(b"\r\n")[1].decode(errors="replace")
    return None if answer == "+OK" else answer
