"""compose/docker-compose.yml: what must hold on every production host."""

import re
import tomllib
from pathlib import Path

from compose.local.seaweedfs import notification_toml
from compose.local.stack import PROGRAMS

FOLDER = Path(__file__).resolve().parents[3] / "compose"
TEXT = (FOLDER / "docker-compose.yml").read_text()


def _service(name: str) -> str:
    match = re.search(rf"^  {name}:\n((?:    .*\n|\n|  #.*\n)+)", TEXT, re.MULTILINE)
    assert match, f"no service {name}"
    return match.group(1)


def test_seaweedfs_sends_no_telemetry() -> None:
    command = _service("seaweedfs")
    assert "-master.telemetry=false" in command
    assert 'SENTRY_DSN: ""' in command


def test_seaweedfs_gives_nothing_without_a_key() -> None:
    service = _service("seaweedfs")
    assert "-disableHttp=true" in service
    for name in ("SIGNING", "SIGNING_READ", "FILER_SIGNING", "FILER_SIGNING_READ"):
        assert f"WEED_JWT_{name}_KEY: ${{SEAWEEDFS_SIGNING_KEY:?}}" in service


def test_a_bucket_that_holds_photos_cannot_be_deleted() -> None:
    assert "-s3.allowDeleteBucketNotEmpty=false" in _service("seaweedfs")


def test_every_published_port_is_on_loopback() -> None:
    published = re.findall(r"ports: \[(.*)\]", TEXT)
    assert len(published) == TEXT.count("ports:")
    for ports in published:
        for port in re.findall(r'"([^"]+)"', ports):
            assert port.startswith("127.0.0.1:")


def test_every_process_of_the_local_stack_runs_there_too() -> None:
    names = {"workers": "worker-cpu"}
    modules = {"web": "web", "relay": "tasks.relay", "delivery": "tasks.delivery_worker"}
    modules |= {"workers": "gpu_workers.launcher", "flower": "flower"}
    assert set(modules) == PROGRAMS
    for program in PROGRAMS:
        assert modules[program] in _service(names.get(program, program))


def test_only_workers_run_the_image_with_torch() -> None:
    for name in ("web", "relay", "delivery", "flower", "prepare"):
        assert "<<: *face3d\n" in _service(name)
    for name in ("worker-cpu", "worker-gpu"):
        assert "<<: *worker\n" in _service(name)
    stages = re.findall(r"^FROM \S+ AS (\S+)", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    for anchor, image in (("face3d", "web"), ("worker", "worker")):
        block = re.search(rf"^x-{anchor}: &{anchor}\n((?:  .*\n)+)", TEXT, re.MULTILINE)
        assert block
        assert f"image: face3d-{image}\n" in block.group(1)
        assert f"target: {image}\n" in block.group(1)
        assert image in stages


def test_no_password_has_a_default() -> None:
    for name in re.findall(r"\$\{(\w*(?:PASSWORD|TOKEN|KEY)\w*)(:[^}]*)?\}", TEXT):
        assert name[1] == ":?", f"{name[0]} must be set by the operator"
    variables = set(re.findall(r"\$\{(\w+):\?\}", TEXT))
    example = dict(
        line.split("=", 1)
        for line in (FOLDER / ".env.example").read_text().splitlines()
        if not line.startswith("#")
    )
    assert variables == set(example)


def test_upload_events_are_configured_as_in_the_local_stack() -> None:
    text = re.search(r"seaweedfs_events:\n    content: \|\n((?:      .*\n)+)", TEXT)
    assert text
    webhook = tomllib.loads(re.sub(r"^      ", "", text.group(1), flags=re.MULTILINE))["notification"][
        "webhook"
    ]
    assert webhook["endpoint"] == "http://web:8080/events/storage/seaweedfs"
    assert webhook["path_prefixes"] == ["/buckets/face3d-inbox/"]
    assert webhook["enabled"] is True
    local = tomllib.loads(notification_toml(webhook["endpoint"], webhook["bearer_token"], "face3d-inbox"))
    assert local["notification"]["webhook"] == webhook
