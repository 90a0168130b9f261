"""The app in a real browser: what a visitor clicks, drops, drags and takes home."""

import asyncio
import io
import re
import subprocess
import sys
import threading

import pytest
from PIL import Image
from test_app import BAD, Slow, photo
from test_browser import CONTRAST, explore
from tornado import httpserver, testing

import xfvlib as xfv
from xfvlib import app

DROP = """(place, files) => {
  const given = new DataTransfer();
  const bytes = (data) => Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
  for (const [name, data] of files) given.items.add(new File([bytes(data)], name));
  for (const kind of ["dragenter", "dragover", "drop"])
    place.dispatchEvent(new DragEvent(kind, { dataTransfer: given, bubbles: true, cancelable: true }));
}"""
WAIT = 60_000


@pytest.fixture(scope="module")
def served():
    """The app in a thread, with a small network in place of the recognisers: its address and that network."""
    slow, loop = Slow(), asyncio.new_event_loop()
    socket, port = testing.bind_unused_port()  # where browsers wait until they are answered

    def run():
        asyncio.set_event_loop(loop)
        loop.call_soon(lambda: httpserver.HTTPServer(app.application()).add_socket(socket))
        loop.run_forever()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "load_model", lambda name: xfv.FaceModel(slow, name=name, threshold=0.3))
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{port}/", slow
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)


@pytest.fixture
def visit(page, served):
    """A page of the app that shows its first pair; every request was to the app."""
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(served[0])
    shown(page)
    yield page
    served[1].pause = 0
    assert not page.wrong and all(url.startswith((served[0], "blob:", "data:")) for url in asked)


def shown(page, method="fggb"):
    page.locator(f'.map:not(.stale) img[alt^="{method} map over the reference"]').wait_for(timeout=WAIT)
    page.locator("#cancel").wait_for(state="hidden", timeout=WAIT)


def until(page, true):
    """Wait for an expression; the page allows no evaluation, which wait_for_function does at its second look."""
    for _ in range(WAIT // 50):
        if page.evaluate(true):
            return
        page.wait_for_timeout(50)
    raise TimeoutError(true)


def upload(page, role, name, data):
    page.set_input_files(f"[data-role={role}] input", {"name": name, "mimeType": "image/jpeg", "buffer": data})


def maps(page):
    return page.locator(".map img:last-child").evaluate_all("all => all.map((one) => one.src)")


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_the_page_is_whole_and_readable(browser, served, width, theme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    page.goto(served[0])
    shown(page)
    upload(page, "probe", "a name that is longer than the place there is for it.jpg", photo("s1/1", "s2/1"))
    page.locator(".photo button").first.wait_for(timeout=WAIT)
    shown(page)
    for tab in ("maps", "interaction", "frequency"):
        page.click(f"#tab-{tab}")
        if tab != "maps":
            page.locator(f"#{tab} .content:not(.stale)").wait_for(timeout=WAIT)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        contrasts = [found for found in page.evaluate(CONTRAST) if found[1].strip() != "The recogniser’s own threshold"]
        assert min(contrasts)[0] >= 4.5, min(contrasts)
    unnamed = """() => [...document.querySelectorAll("button, select, input")].filter((one) =>
      !(one.labels?.length || one.getAttribute("aria-label") || one.textContent.trim())).map((one) => one.outerHTML)"""
    assert page.evaluate(unnamed) == []
    assert page.evaluate("[...document.images].every((one) => one.hasAttribute('alt'))")
    page.close()


def test_pairs_of_orl_and_every_control_by_keys(visit):
    page = visit
    assert re.match("(Rightly|Wrongly) (accepted|rejected): the same person", page.inner_text("#decision"))
    before = maps(page)
    page.click("[data-pair=different]")
    page.locator("#decision", has_text="different people").wait_for(timeout=WAIT)
    shown(page)
    assert maps(page) != before
    page.locator("[data-role=reference] select").select_option("s7/3")
    page.locator("[data-role=probe] select").select_option("s7/2")
    page.locator("#decision", has_text="the same person").wait_for(timeout=WAIT)
    shown(page)
    page.focus("#threshold")
    page.keyboard.press("Home")
    page.locator("#decision", has_text="Rightly accepted").wait_for(timeout=WAIT)
    page.keyboard.press("End")
    page.locator("#decision", has_text="Wrongly rejected").wait_for(timeout=WAIT)
    assert "threshold 1.0000" in page.inner_text("#told")
    page.click("#own")
    page.locator("#told", has_text="threshold 0.3000").wait_for(timeout=WAIT)
    assert page.locator("#own").is_disabled()
    page.uncheck("#coloured")
    assert not page.locator(".map img:last-child").first.is_visible()
    page.check("#coloured")
    page.focus("#tab-maps")
    page.keyboard.press("ArrowRight")
    page.locator("#interaction .content:not(.stale) canvas").first.wait_for(timeout=WAIT)
    assert page.locator("#tab-interaction").get_attribute("aria-selected") == "true"
    page.keyboard.press("ArrowRight")
    page.locator("#frequency .content:not(.stale) img").wait_for(timeout=WAIT)
    assert "heat plots of both images" in page.locator("#frequency img").get_attribute("alt")
    page.select_option("#method", "occlusion")
    page.click("#tab-maps")
    shown(page, "occlusion")
    page.select_option("#recogniser", "dlib-resnet")
    shown(page, "occlusion")


def test_an_answer_to_a_former_threshold_does_not_bring_it_back(visit):
    visit.evaluate("""() => {
      window.seen = [];
      new MutationObserver(() => seen.push($("#told").textContent)).observe($("#told"), { childList: true });
      $("#threshold").value = 1;
      $("#threshold").dispatchEvent(new Event("input"));
      $("#own").click();  // the answer to the first is still to come
    }""")
    until(visit, "running === null && !queue.length")
    seen = visit.evaluate("seen")
    assert len(seen) > 1 and all(told.endswith("threshold 0.3000") for told in seen), seen


def test_maps_follow_the_threshold_while_it_is_dragged(visit):
    page, seen = visit, set()
    box = page.locator("#threshold").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2)
    page.mouse.down()
    for share in (0.3, 0.5, 0.7, 0.9):
        before = maps(page)
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2, steps=5)
        for _ in range(WAIT // 50):
            page.wait_for_timeout(50)
            if maps(page) != before:
                break
        seen.add(tuple(maps(page)))
    page.mouse.up()
    assert len(seen) == 4


def test_an_interaction_is_explored(visit):
    visit.click("#tab-interaction")
    visit.locator("#interaction .content:not(.stale) canvas").first.wait_for(timeout=WAIT)
    explore(visit)


def test_photographs_are_dropped_and_one_of_several_faces_is_chosen(visit):
    page, encode = visit, lambda data: app.base64.b64encode(data).decode()
    files = [["one.jpg", encode(photo("s1/1", "s2/1"))], ["two.png", encode(photo("s2/2", kind="PNG"))]]
    page.locator("[data-role=probe]").evaluate(DROP, files)
    page.locator("[data-role=probe] .name", has_text="one.jpg").wait_for(timeout=WAIT)
    page.locator("[data-role=reference] .name", has_text="two.png").wait_for(timeout=WAIT)
    shown(page)
    boxes, place = page.locator("[data-role=probe] .photo button"), page.locator("[data-role=probe] .photo img")
    assert boxes.count() == 2 and "2 faces were found" in page.locator("[data-role=probe] .note").inner_text()
    seen = place.bounding_box()
    for box, middle in zip(boxes.all(), (0.25, 0.75)):  # they lie in the picture, upon the faces
        at = box.bounding_box()
        assert abs((at["x"] + at["width"] / 2 - seen["x"]) / seen["width"] - middle) < 0.15
        assert 0.2 < at["height"] / seen["height"] < 1.05
    for number in (0, 1):
        boxes.nth(number).focus()
        page.keyboard.press("Enter")
        page.locator("[data-role=probe] .note", has_text=f"number {number + 1} from the left").wait_for(timeout=WAIT)
        shown(page)
        assert boxes.nth(number).get_attribute("aria-pressed") == "true"
        assert boxes.nth(number).evaluate("one => one === document.activeElement")
    assert page.inner_text("#decision") in ("Accepted", "Rejected")


def test_bad_photographs_are_refused_in_words_and_a_good_one_is_taken(visit):
    page = visit
    for name, (data, words) in BAD.items():
        upload(page, "probe", name, data)
        said = "a photograph of at most 10 MB is needed" if name == "large.jpg" else words
        page.locator("#status.error", has_text=name).wait_for(timeout=WAIT)
        assert said in page.inner_text("#status")
        if name != "large.jpg":  # which the page does not even send
            assert page.locator("[data-role=probe] .photo img").count() == 0
            assert page.locator("[data-do=png]").is_disabled() and not page.locator("#decision").is_visible()
    upload(page, "probe", "good.jpg", photo("s9/1"))
    shown(page)
    assert page.locator("[data-role=probe] .photo button").count() == 1 and page.inner_text("#status") == ""


def test_a_long_computation_shows_its_progress_and_is_cancelled(visit, served):
    page = visit
    served[1].pause = 0.02
    page.select_option("#method", "minplus")
    page.locator("progress[value]").wait_for(timeout=WAIT)
    page.click("#cancel")
    page.locator("#status", has_text="Cancelled.").wait_for(timeout=WAIT)
    assert not page.locator("#cancel").is_visible()
    page.select_option("#method", "minplus")
    page.locator("progress[value]").wait_for(timeout=WAIT)
    page.select_option("#method", "gradient")  # what was asked for last comes at once
    shown(page, "gradient")


def test_a_photograph_that_was_given_up_is_not_shown_under_the_name_of_another(visit, served):
    page = visit
    upload(page, "probe", "two.jpg", photo("s1/1", "s2/1"))
    page.locator(".name", has_text="two.jpg").wait_for(timeout=WAIT)
    shown(page)
    page.click("#tab-interaction")
    page.locator("#interaction .content:not(.stale)").wait_for(timeout=WAIT)
    page.select_option("#method", "minplus")
    served[1].pause = 0.02
    page.click("[data-do=png]")  # the maps that the page's settings ask for, which were not seen yet
    page.locator("progress[value]").wait_for(timeout=WAIT)
    assert page.locator("#decision").is_visible()
    upload(page, "probe", "one.jpg", photo("s3/1"))  # which waits for the download
    until(page, "document.querySelector('#verdict').matches('.stale')")
    page.click("#cancel")
    assert page.locator("#decision").is_visible() and page.locator("#interaction .content").is_visible()
    page.locator("#status", has_text="Cancelled.").wait_for(timeout=WAIT)
    served[1].pause = 0
    page.select_option("#method", "gradient")
    page.locator("#interaction .content:not(.stale)").wait_for(timeout=WAIT)
    assert page.inner_text("[data-role=probe] .name") == "two.jpg"
    wide = "() => document.querySelector('[data-role=probe] .photo img').naturalWidth"
    until(page, f"({wide})() > 0")
    assert page.evaluate(wide) == 552


def test_an_answer_counts_when_the_photograph_behind_it_is_given_up(visit, served):
    page, hidden = visit, "() => ['.map', '#verdict'].map((one) => document.querySelector(one).matches('.stale'))"
    served[1].pause = 0.05
    click = "document.querySelector('#cancel').click();"
    probe = "document.querySelector('[data-role=probe] select')"
    before = page.evaluate(f"{probe}.value")
    choose = f"{probe}.value = 's9/2'; {probe}.dispatchEvent(new Event('change'));"
    page.evaluate(f"() => {{ turn(0.9); {choose} {click} }}")  # in one step
    until(page, "running === null")
    assert page.evaluate(hidden) == [False, False] and "threshold 0.9000" in page.inner_text("#told")
    assert page.evaluate(f"{probe}.value") == before != "s9/2"
    other = "settings.recogniser = 'dlib-resnet'; ask({ anew: true });"
    page.evaluate(f"() => {{ turn(0.8); ask({{ pair: 'different' }}); {other} {click} }}")
    until(page, "running === null")
    assert page.evaluate(hidden) == [True, True]  # another recogniser was chosen
    served[1].pause = 0
    page.select_option("#recogniser", "sface")
    shown(page)


def test_what_was_asked_for_before_does_not_show_again_what_is_hidden(visit, served):
    page, hidden = visit, "() => ['.map', '#verdict'].every((one) => document.querySelector(one).matches('.stale'))"
    served[1].pause = 0.3
    page.evaluate("() => { turn(0.9); ask({ pair: 'different' }); }")  # the drag is answered behind the click
    until(page, "running?.change.pair !== undefined")
    assert page.evaluate(hidden) and page.locator("[data-do=png]").is_disabled()
    served[1].pause = 0
    shown(page)
    served[1].pause = 0.02
    page.select_option("#method", "minplus")
    page.locator("progress[value]").wait_for(timeout=WAIT)
    page.select_option("#recogniser", "dlib-resnet")
    until(page, "running?.change.anew && running.moving")
    assert page.evaluate(hidden)


def test_a_threshold_below_the_range_of_a_new_pair_lies_at_its_end(visit):
    visit.evaluate("showDecision({ ...decided, low: 0.5, threshold: 0.2 })")
    assert visit.evaluate("document.querySelector('#below').style.width") == "0%"
    assert visit.locator("#threshold").get_attribute("min") == "0.2"


def test_a_face_of_a_photograph_that_is_replaced_cannot_be_chosen(visit):
    page = visit
    upload(page, "probe", "two.jpg", photo("s1/1", "s2/1"))
    page.locator("[data-role=probe] .photo button").first.wait_for(timeout=WAIT)
    shown(page)
    clicked = """() => {
      ask({ role: "probe", name: "empty.jpg" }, new File([], "empty.jpg"));
      document.querySelector("[data-role=probe] .photo button").click();
      return queue.length;
    }"""
    assert page.evaluate(clicked) == 0
    page.locator("#status.error", has_text="empty.jpg is empty").wait_for(timeout=WAIT)


def test_two_visitors_see_their_own_photographs_only(browser, served, visit):
    other = browser.new_context().new_page()
    other.goto(served[0])
    shown(other)
    upload(visit, "probe", "mine.jpg", photo("s3/1"))
    upload(other, "probe", "yours.jpg", photo("s4/1"))
    for page, own in ((visit, "mine.jpg"), (other, "yours.jpg")):
        page.locator(".name", has_text=own).wait_for(timeout=WAIT)
        shown(page)
    assert "yours" not in visit.content() and "mine" not in other.content() and maps(visit) != maps(other)
    visit.reload()
    shown(visit)
    assert "mine.jpg" not in visit.content()
    other.context.close()


def test_downloads_are_opened_without_the_app(browser, visit, tmp_path):
    page = visit
    upload(page, "probe", "me & you.jpg", photo("s6/1"))
    page.locator(".name", has_text="me & you.jpg").wait_for(timeout=WAIT)
    shown(page)
    for tab in ("interaction", "frequency"):
        page.click(f"#tab-{tab}")
        page.locator(f"#{tab} .content:not(.stale)").wait_for(timeout=WAIT)
    for kind, name in (("png", "face-maps.png"), ("report", "face-report.html")):
        with page.expect_download(timeout=WAIT) as found:
            page.click(f"[data-do={kind}]")
        assert found.value.suggested_filename == name
        found.value.save_as(tmp_path / name)
    assert Image.open(io.BytesIO((tmp_path / "face-maps.png").read_bytes())).size[0] > 700
    context = browser.new_context(offline=True)
    report, asked, wrong = context.new_page(), [], []
    report.on("request", lambda request: asked.append(request.url))
    report.on("console", lambda message: wrong.append(message.text))
    report.goto((tmp_path / "face-report.html").as_uri())
    assert "me & you.jpg" in report.inner_text("h1") and "SHA-256" in report.inner_text("table")
    assert report.evaluate("[...document.images].every((one) => one.naturalWidth > 100 && one.alt)")
    explore(report)
    assert not wrong and all(url.startswith(("file:", "data:")) for url in asked)
    context.close()


def test_the_command_serves_the_recognisers(page):
    command = [sys.executable, "-m", "xfvlib.app", "--no-browser", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())[0]
        page.goto(address)
        page.select_option("#method", "gradient")
        shown(page, "gradient")
        assert "Rightly accepted: the same person" in page.inner_text("#decision")
        process.terminate()
        process.wait(20)
        page.locator("#status.error", has_text="The photographs are forgotten").wait_for(timeout=WAIT)
    finally:
        process.kill()
    assert not page.wrong
