"""The page in a real browser, on real servers, with a stand-in for the workers."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.stack import sign_in_link
from compose.local import SERVERS, Stack, temporary_state_dir
from face3d.settings import Settings
from tests.acceptance.chromium import Browser, find_chromium
from tests.acceptance.stand_in import REASONS, StandIn, make_glb
from tests.ports import stack_ports

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine"),
    pytest.mark.timeout(240),
]

#: Every tone of red and green, in a picture that is no square: (64, 96, 3) sRGB.
TEXTURE = np.stack(
    [*np.meshgrid(np.linspace(0, 255, 96), np.linspace(0, 255, 64)), np.full((64, 96), 60.0)], axis=-1
).astype(np.uint8)

VIEW = "document.body.dataset.view"
HEIC = Path(__file__).resolve().parent.parent / "unit" / "decoding" / "samples" / "heic" / "plain.heic"


@pytest.fixture(scope="module")
def studio() -> Iterator[Settings]:
    folder = temporary_state_dir()
    try:
        with (
            Stack(folder, services=SERVERS | {"web"}, ports=stack_ports()) as stack,
            StandIn(stack.settings, glb=make_glb(texture=TEXTURE)),
        ):
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
    # What the page of the test before still asks for ends with it.
    program.call("Page.navigate", url="about:blank")
    program.wait_for("location.href === 'about:blank'")
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


def check_texture(page: Browser, name: str) -> None:
    """Compare an `<img>`, drawn at its natural size, with the picture that went into the model."""
    page.wait_for(f"document.getElementById('{name}').naturalWidth")
    shown = page.evaluate(
        f"(() => {{ const shown = document.getElementById('{name}');"
        " const canvas = new OffscreenCanvas(shown.naturalWidth, shown.naturalHeight);"
        " const pen = canvas.getContext('2d'); pen.drawImage(shown, 0, 0);"
        " return [canvas.height, canvas.width,"
        " [...pen.getImageData(0, 0, canvas.width, canvas.height).data]]; })()"
    )
    assert tuple(shown[:2]) == TEXTURE.shape[:2]
    pixels = np.array(shown[2]).reshape(*TEXTURE.shape[:2], 4)
    np.testing.assert_allclose(pixels[..., :3], TEXTURE, atol=1)


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
    check_texture(page, "uv-image")
    height, width = TEXTURE.shape[:2]
    page.wait_for(f"document.getElementById('uv-size').textContent === '{width} × {height}'")
    before = picture(page)
    page.evaluate(
        "(() => { const slider = document.querySelector('#shapes [name=jawOpen]');"
        " slider.value = 1; slider.dispatchEvent(new Event('input')); })()"
    )
    page.wait_for("new Promise(done => setTimeout(() => done(true), 1500))")
    scene = (slice(60, 500), slice(60, 560))
    assert (np.abs(picture(page)[scene] - before[scene]).max(axis=-1) > 24).mean() > 0.01

    page.wait_for("document.querySelectorAll('#reasons li').length")
    reasons = page.evaluate("[...document.querySelectorAll('#reasons li')].map(item => item.innerText)")
    assert reasons == [REASONS[1]["message"], REASONS[0]["message"]], "the gravest first"

    names = "[...document.querySelectorAll('#file-list a')].map(link => link.download)"
    assert page.evaluate(names) == ["head.glb", "manifest.json"]
    click(page, "uv")
    assert page.evaluate("document.getElementById('uv-large').open") is True
    check_texture(page, "uv-large-image")
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


def test_a_refused_value_never_looks_like_its_limit(page: Browser) -> None:
    shown = page.evaluate(
        "import('/static/words.js').then(({ measured }) => { const problem = { value: 0.0304, limit: 0.03 };"
        " return [measured(problem, problem.value), measured(problem, problem.limit)]; })"
    )
    assert shown[0] != shown[1]


def test_a_bad_option_is_refused_with_the_allowed_values(page: Browser, photo: Path) -> None:
    page.choose_file("#photo", photo)
    page.evaluate("document.querySelector('[name=texture-size]').append(new Option('77', '77', true, true))")
    click(page, "go")
    page.wait_for(f"{VIEW} === 'failed'")
    said = page.evaluate("document.getElementById('refusal').innerText")
    assert "texture-size" in said
    assert "77" in said
    assert "1024, 2048, 4096, 8192" in said


def test_an_iphone_s_photo_can_be_chosen_where_the_browser_cannot_show_it(page: Browser) -> None:
    assert {".heic", ".heif", "image/*"} <= set(
        page.evaluate("document.getElementById('photo').accept").split(",")
    )
    page.choose_file("#photo", HEIC)
    page.wait_for(f"{VIEW} === 'chosen'")
    page.wait_for("document.querySelector('.intro').innerText.includes('We can read it all the same')")
    click(page, "go")
    page.wait_for(f"{VIEW} === 'ready'")


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
