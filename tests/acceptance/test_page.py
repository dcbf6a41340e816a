"""The page in a real browser, on real servers, with a stand-in for the workers."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compose.local import SERVERS, Stack, temporary_state_dir
from face3d.cli.stack import sign_in_link
from face3d.settings import Settings
from tests.acceptance.chromium import Browser, find_chromium
from tests.acceptance.stand_in import StandIn

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine"),
    pytest.mark.timeout(240),
]

VIEW = "document.body.dataset.view"


@pytest.fixture(scope="module")
def studio() -> Iterator[Settings]:
    folder = temporary_state_dir()
    try:
        with Stack(folder, services=SERVERS | {"web"}) as stack, StandIn(stack.settings):
            yield stack.settings
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def program() -> Iterator[Browser]:
    with Browser() as opened:
        opened.reduce_motion()
        yield opened


@pytest.fixture
def browser(program: Browser) -> Browser:
    program.call("Network.clearBrowserCookies")
    program.resize(1000, 640)
    program.complaints.clear()
    return program


@pytest.fixture
def page(studio: Settings, browser: Browser) -> Browser:
    browser.open(sign_in_link(studio))
    browser.wait_for("document.querySelectorAll('.stage').length === 4")
    return browser


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "face.png"
    Image.radial_gradient("L").convert("RGB").save(path)
    return path


def picture(browser: Browser) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(browser.screenshot())).convert("RGB"), dtype=int)


def click(browser: Browser, name: str) -> None:
    browser.evaluate(f"document.getElementById('{name}').click()")


def test_the_printed_address_signs_in_and_hides_the_code(page: Browser, studio: Settings) -> None:
    assert page.evaluate("location.href") == f"{studio.public_url}/"
    assert page.evaluate(VIEW) == "empty"
    assert page.evaluate("document.cookie") == ""


def test_a_stranger_sees_a_form_and_the_right_token_opens(browser: Browser, studio: Settings) -> None:
    browser.open(studio.public_url)
    for token, opens in (("wrong", False), (studio.api_token.get_secret_value(), True)):
        browser.evaluate(f"document.getElementById('token').value = '{token}'")
        browser.evaluate("document.querySelector('form button').click()")
        seen = "document.getElementById('drop')" if opens else "!document.getElementById('wrong').hidden"
        browser.wait_for(seen)


def test_a_photo_becomes_a_head(page: Browser, photo: Path, studio: Settings) -> None:
    page.choose_file("#photo", photo)
    page.wait_for(f"{VIEW} === 'chosen'")
    assert page.evaluate("document.activeElement.id") == "go"
    page.evaluate(
        "{ window.seen = []; new MutationObserver(list => list.forEach(({ target }) =>"
        " seen.push(`${target.dataset.name} ${target.dataset.state}`)))"
        ".observe(document.getElementById('stages'), { subtree: true, attributeFilter: ['data-state'] }); }"
    )
    page.evaluate("document.activeElement.click()")
    page.wait_for(f"{VIEW} === 'ready'")
    told = page.evaluate("seen")
    # The page is told every 0.3 s: on a busy machine it may miss that a certain stage ran.
    assert any(word.endswith(" running") for word in told)
    assert told.index("preprocess done") < told.index("packaging done")
    assert page.evaluate("document.querySelectorAll('.stage[data-state=done]').length") == 4

    page.wait_for("!document.getElementById('shapes').hidden", 90)
    page.wait_for("!document.getElementById('uv').hidden && document.getElementById('uv-image').naturalWidth")
    before = picture(page)
    page.evaluate(
        "(() => { const slider = document.querySelector('#shapes [name=jawOpen]');"
        " slider.value = 1; slider.dispatchEvent(new Event('input')); })()"
    )
    page.wait_for("new Promise(done => setTimeout(() => done(true), 1500))")
    scene = (slice(60, 500), slice(60, 560))
    assert (np.abs(picture(page)[scene] - before[scene]).max(axis=-1) > 24).mean() > 0.01

    names = "[...document.querySelectorAll('#file-list a')].map(link => link.download)"
    assert page.evaluate(names) == ["head.glb", "manifest.json"]
    click(page, "uv")
    assert page.evaluate("document.getElementById('uv-large').open") is True
    page.press("Escape", 27)
    assert page.evaluate("document.getElementById('uv-large').open") is False

    job = page.evaluate("location.hash")
    page.open(f"{studio.public_url}/?again{job}")
    page.wait_for(f"{VIEW} === 'ready'")
    page.wait_for("document.querySelector('#recent [aria-current=true]')")
    assert page.complaints == []


def test_a_refusal_says_why_and_the_next_photo_works(page: Browser, photo: Path, tmp_path: Path) -> None:
    tiny = tmp_path / "tiny.png"
    tiny.write_bytes(b"not much")
    page.choose_file("#photo", tiny)
    click(page, "go")
    page.wait_for(f"{VIEW} === 'failed'")
    said = page.evaluate("document.getElementById('refusal').innerText")
    assert "The face is too small in this photo." in said
    assert "17 px" in said
    assert "40 px" in said
    page.choose_file("#photo", photo)
    page.wait_for(f"{VIEW} === 'chosen'")
    assert page.evaluate("document.getElementById('refusal').hidden") is True
    click(page, "go")
    page.wait_for(f"{VIEW} === 'ready'")


def test_a_bad_option_is_refused_with_the_allowed_values(page: Browser, photo: Path) -> None:
    page.choose_file("#photo", photo)
    page.evaluate("document.querySelector('[name=texture-size]').append(new Option('77', '77', true, true))")
    click(page, "go")
    page.wait_for(f"{VIEW} === 'failed'")
    said = page.evaluate("document.getElementById('refusal').innerText")
    assert "texture-size" in said
    assert "77" in said
    assert "1024, 2048, 4096, 8192" in said


def test_a_dropped_photo_is_chosen(page: Browser) -> None:
    page.evaluate(
        "(() => { const data = new DataTransfer(); data.items.add(new File(['x'], 'drop.png'));"
        " dispatchEvent(new DragEvent('drop', { dataTransfer: data })); })()"
    )
    assert page.evaluate(VIEW) == "chosen"


@pytest.mark.parametrize(("width", "height"), [(360, 740), (390, 844), (768, 1024), (1440, 900)])
def test_it_fits_the_screen_and_nothing_moves_for_who_wants_it_calm(
    page: Browser, width: int, height: int
) -> None:
    page.resize(width, height, mobile=width < 700)
    page.wait_for("new Promise(done => setTimeout(() => done(true), 300))")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") is True
    assert page.evaluate("document.getAnimations().filter(a => a.playState === 'running').length") == 0
    box = page.evaluate(
        "(() => { const { left, right, height } = document.getElementById('go').getBoundingClientRect();"
        " return [left, right, height]; })()"
    )
    assert box[0] >= 0
    assert box[1] <= width
    assert box[2] >= 44
    assert picture(page).std() > 10
