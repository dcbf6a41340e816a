"""The page's viewer on files of every layout, in a real browser: sliders, correctives, corneas."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from assets import keys
from assets.gltf import write_glb
from face3d import head as head_module
from face3d.head import ARKIT_NAMES
from gpu_workers.engines.null.head import make_head
from tests.acceptance.chromium import Browser, find_chromium
from tests.acceptance.stand_in import make_glb

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine"),
    pytest.mark.timeout(240),
]

STATIC = Path(__file__).resolve().parents[2] / "web" / "static"
CORRECTIVE = "jawOpen__mouthSmileLeft"
PAGE = """<!doctype html><link rel="icon" href="data:,"><style>model-viewer{width:300px;height:300px}</style>
<div id="place"></div><form id="shapes"></form>
<script type="module">
  import { fetchHead, offerShapes, showHead } from "/static/viewer.js";
  try {
    window.head = await showHead(document.getElementById("place"), await fetchHead("/head.glb"));
    window.offered = offerShapes(document.getElementById("shapes"), head);
  } catch (error) { window.failed = String(error); }
</script>"""
#: Name of the slider to value; then each mesh's weights by name, and the corneas' materials.
DRIVE = """((values) => {
  for (const [name, value] of Object.entries(values)) {
    const slider = document.querySelector(`#shapes [name=${name}]`);
    slider.value = value; slider.dispatchEvent(new Event("input"));
  }
  let scene;
  for (let type = head; !scene; type = Object.getPrototypeOf(type)) {
    const symbol = Object.getOwnPropertySymbols(type).find((entry) => entry.description === "scene");
    if (symbol) scene = head[symbol];
  }
  const weights = [], corneas = [];
  scene.traverse((node) => {
    if (node.material?.name === "corneas") corneas.push([node.material.opacity, node.material.transmission]);
    if (!node.morphTargetDictionary) return;
    const found = {};
    for (const [name, k] of Object.entries(node.morphTargetDictionary)) {
      if (node.morphTargetInfluences[k]) found[name] = node.morphTargetInfluences[k];
    }
    weights.push(found);
  });
  return { weights, corneas };
})"""


class Site:
    """Serves the viewer, a page and one model on loopback."""

    def __init__(self) -> None:
        self.model = b""
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, body = site.find(self.path)
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def find(self, path: str) -> tuple[str, bytes]:
        match path:
            case "/page":
                return "text/html", PAGE.encode()
            case "/head.glb":
                return "model/gltf-binary", self.model
        return "text/javascript", (STATIC / path.removeprefix("/static/")).read_bytes()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    served = Site()
    yield served
    served.server.shutdown()
    served.server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        opened.reduce_motion()
        yield opened


def drive(browser: Browser, site: Site, model: bytes, **values: float) -> dict:
    """Return the weights of every mesh, and the corneas' opacity and transmission."""
    site.model = model
    browser.complaints.clear()
    browser.open(f"http://127.0.0.1:{site.server.server_port}/page")
    browser.wait_for("window.offered !== undefined || window.failed", 90)
    assert browser.evaluate("window.failed") is None
    assert browser.evaluate("window.offered") is True
    found = browser.evaluate(f"{DRIVE}({json.dumps(values)})")
    assert not browser.complaints
    return dict(found)


@pytest.mark.parametrize("parts", ["merged", "separate"])
def test_sliders_drive_the_whole_head_and_its_correctives(
    parts: str, site: Site, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_module, "CORRECTIVE_NAMES", (CORRECTIVE,))
    pair = (ARKIT_NAMES.index("jawOpen"), ARKIT_NAMES.index("mouthSmileLeft"))
    monkeypatch.setattr(keys, "CORRECTIVE_PAIRS", (pair,))
    head = make_head()
    cornea = replace(head.part("eye_left"), name="cornea_left", material="cornea")
    corrected = tuple(
        replace(part, morph_deltas=np.concatenate([part.morph_deltas, part.morph_deltas[:1]]))
        for part in (*head.parts, cornea)
    )
    model = write_glb(replace(head, parts=corrected), {}, parts=parts)
    found = drive(browser, site, model, jawOpen=0.5, mouthSmileLeft=0.8)
    assert len(found["weights"]) == (3 if parts == "merged" else 4)
    for weights in found["weights"]:
        assert weights == pytest.approx(
            {"jawOpen": 0.5, "mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, CORRECTIVE: 0.4}
        )
    assert found["corneas"] == [[1, 1]], "solid glass: a highlight is not blended away"


def test_an_asset_of_an_older_release_opens(site: Site, browser: Browser) -> None:
    """No skeleton, no visemes, no correctives: a mesh with the shapes that it has."""
    found = drive(browser, site, make_glb(), jawOpen=1.0)
    assert found["weights"] == [{"jawOpen": 1}]
