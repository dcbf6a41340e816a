"""How the servers are started: loopback only, no telemetry, no secret where others can read it."""

import json
import os
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest

from compose.local import accounts, ports
from compose.local.credentials import load_credentials
from compose.local.envfile import quote
from compose.local.layout import Layout
from compose.local.postgres import postgres_items
from compose.local.programs import program_environment, program_services
from compose.local.seaweedfs import notification_toml, seaweedfs_items, weed_arguments
from compose.local.service import Service
from compose.local.stack import Stack
from compose.local.valkey import valkey_items
from face3d.errors import ConfigurationError, Face3DError, StorageUnavailable
from face3d.settings import Settings, get_settings


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A layout as an ordinary user has it."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "stack.env").write_text("FACE3D_BROKER_URL=redis://here\n")
    numbers = {name: 15000 + index for index, name in enumerate(ports.PORT_NAMES)}
    return Layout(state_dir=tmp_path, account=None, ports=numbers, credentials=load_credentials(tmp_path))


def _services(layout: Layout) -> list[Service]:
    items = (
        *postgres_items(layout),
        *valkey_items(layout),
        *seaweedfs_items(layout, Settings()),
        *program_services(layout),
    )
    return [item for item in items if isinstance(item, Service)]


def test_seaweedfs_sends_no_telemetry_and_listens_on_loopback(tmp_path: Path) -> None:
    arguments = weed_arguments(Path("weed"), tmp_path, dict.fromkeys(ports.PORT_NAMES, 15000))
    for needed in ("-master.telemetry=false", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-admin.ui=false"):
        assert needed in arguments


def test_seaweedfs_puts_no_socket_where_another_user_may_have_left_one(tmp_path: Path) -> None:
    arguments = weed_arguments(Path("weed"), tmp_path, dict.fromkeys(ports.PORT_NAMES, 15000))
    sockets = [argument.split("=")[1] for argument in arguments if ".localSocket=" in argument]
    assert len(sockets) == 2
    # Relative to its working directory; a full path may exceed the 107 characters of a socket's name.
    assert all("/" not in path for path in sockets)


def test_seaweedfs_gives_nothing_without_a_key(layout: Layout) -> None:
    (service,) = [item for item in _services(layout) if item.name == "seaweedfs"]
    assert "-disableHttp=true" in service.argv
    security = tomllib.loads((service.cwd / "security.toml").read_text())
    tokens = security["jwt"]
    keys = [
        tokens[part][kind] if kind == "key" else tokens[part]["read"]["key"]
        for part in ("signing", "filer_signing")
        for kind in ("key", "read")
    ]
    assert len(set(keys)) == 4
    assert min(map(len, keys)) >= 32
    for part in ("master", "volume", "filer", "s3", "client"):
        assert Path(security["grpc"][part]["cert"]).is_file()
    for file in service.cwd.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_seaweedfs_keeps_object_keys_out_of_the_logs_that_people_read(tmp_path: Path) -> None:
    arguments = weed_arguments(Path("weed"), tmp_path, dict.fromkeys(ports.PORT_NAMES, 15000))
    options = arguments[1 : arguments.index("mini")]
    assert {"-alsologtostderr=false", "-stderrthreshold=FATAL"} <= set(options)


@pytest.mark.parametrize(
    "value", ["plain", "", "a b", 'say "hi"', "it's", "$HOME `id`", '["a", "b"]', "#1; x"]
)
def test_settings_files_say_the_same_to_a_shell_and_to_the_programs(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "stack.env"
    file.write_text(f"FACE3D_S3_ENDPOINT={quote(value)}\n")
    monkeypatch.setenv("FACE3D_ENV_FILE", str(file))
    assert get_settings.__wrapped__().s3_endpoint == value
    monkeypatch.delenv("FACE3D_ENV_FILE")
    script = f"set -a; . {file}; set +a; printenv FACE3D_S3_ENDPOINT"
    said = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert said == value + "\n"


def test_a_value_that_they_would_read_differently_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        quote("it's $HOME")


def test_servers_inherit_nothing_that_could_redirect_them(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SENTRY_DSN", "PGHOST", "AWS_PROFILE", "LD_PRELOAD"):
        monkeypatch.setenv(name, "elsewhere")
    servers = [
        service for service in _services(layout) if service.name in ("postgres", "valkey", "seaweedfs")
    ]
    assert len(servers) == 3
    for service in servers:
        assert "elsewhere" not in service.env.values()
        assert service.env["HOME"].startswith(str(layout.state_dir))


def test_no_command_line_holds_a_secret(layout: Layout) -> None:
    for service in _services(layout):
        command = " ".join(service.argv)
        for name, secret in layout.credentials.items():
            assert secret not in command, f"{service.name} shows {name}"


def test_credentials_are_private_and_stay(layout: Layout) -> None:
    file = layout.state_dir / "secrets.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load_credentials(layout.state_dir) == layout.credentials
    assert len(set(layout.credentials.values())) == len(layout.credentials)
    config = layout.state_dir / "valkey" / "valkey.conf"
    valkey_items(layout)
    assert stat.S_IMODE(config.stat().st_mode) == 0o600


def test_upload_events_go_to_the_web_server_with_the_token() -> None:
    text = notification_toml("http://127.0.0.1:8080/events/storage/seaweedfs", 'to"ken', "inbox")
    webhook = tomllib.loads(text)["notification"]["webhook"]
    assert webhook["endpoint"] == "http://127.0.0.1:8080/events/storage/seaweedfs"
    assert webhook["bearer_token"] == 'to"ken'
    # With the slash: /buckets/inbox-archive must not match.
    assert webhook["path_prefixes"] == ["/buckets/inbox/"]
    assert "create" in webhook["event_types"]
    # SeaweedFS sends an event once, whatever these say.
    assert not {"max_retries", "backoff_seconds", "max_backoff_seconds"} & set(webhook)


def test_our_programs_use_this_stack_whatever_the_caller_has_set(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACE3D_BROKER_URL", "amqp://production")
    monkeypatch.setenv("FACE3D_SWEEP_SECONDS", "7")
    environment = program_environment(layout)
    assert "FACE3D_BROKER_URL" not in environment
    assert environment["FACE3D_SWEEP_SECONDS"] == "7"
    assert environment["FACE3D_ENV_FILE"] == str(layout.env_file)


def test_unknown_services_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mysql"):
        Stack(tmp_path, services={"mysql"})


def test_the_account_of_the_servers_is_checked_for_every_folder_above(tmp_path: Path) -> None:
    stranger = accounts.Account(uid=os.getuid() + 4321, gid=os.getgid() + 4321)
    program = tmp_path / "open" / "closed" / "program"
    program.parent.mkdir(parents=True)
    program.write_text("")
    program.chmod(0o755)
    tmp_path.chmod(0o755)
    for folder in (tmp_path / "open", program.parent):
        folder.chmod(0o755)
    outside = accounts.can_reach(tmp_path, stranger)
    assert accounts.can_reach(program, stranger) == outside
    program.parent.chmod(0o700)
    assert not accounts.can_reach(program, stranger)
    assert accounts.can_reach(program, accounts.Account(uid=os.getuid(), gid=os.getgid()))


def test_ports_file_is_json_that_a_person_can_edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda _port: True)
    (tmp_path / "ports.json").write_text(json.dumps({"web": 9090}))
    assert ports.choose_ports(tmp_path)["web"] == 9090


def test_every_server_is_looked_after_while_it_runs_and_none_of_our_programs_is(layout: Layout) -> None:
    looked_after = {service.name: service.work for service in _services(layout) if service.work is not None}
    assert set(looked_after) == {"postgres", "valkey", "seaweedfs"}
    for work in looked_after.values():
        assert work.folder.is_relative_to(layout.state_dir)


@pytest.mark.parametrize(("free_mb", "says"), [(300, "300 MB are free"), (50_000, "answered 500")])
def test_a_disk_too_small_for_the_buckets_is_named(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, free_mb: int, says: str
) -> None:
    def refuse(_settings: Settings) -> None:
        raise StorageUnavailable("The object store answered 500.")

    monkeypatch.setattr("compose.prepare.prepare_buckets", refuse)
    usage = shutil.disk_usage("/")._replace(free=free_mb * 2**20)
    monkeypatch.setattr("compose.local.seaweedfs.shutil.disk_usage", lambda _folder: usage)
    (step,) = [item for item in seaweedfs_items(layout, Settings()) if item.name == "buckets"]
    with pytest.raises(Face3DError, match=says):
        step.run()
