"""What an artist does in the browser: find a template, open it, run it, watch it run, and hear the result."""

import json
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.comfy, pytest.mark.slow]

WORKFLOWS = Path(__file__).parents[2] / "workflows"
TEMPLATES = {path.stem for path in WORKFLOWS.glob("*.json")}
OPEN_SECONDS = 180
RUN_SECONDS = 600

READY = "() => window.app?.graph && 'DualDub_Sampler' in (window.LiteGraph?.registered_node_types ?? {})"
KINDS = "() => app.graph._nodes.map(node => node.type).sort()"
# What the page is told while a prompt runs, and what it writes into its title.
WATCH = """() => {
  window.seen = { progress: [], prompts: [], titles: [] };
  app.api.addEventListener("progress", ({ detail }) => seen.progress.push(detail.value / detail.max));
  app.api.addEventListener("execution_success", ({ detail }) => seen.prompts.push(detail.prompt_id));
  new MutationObserver(() => seen.titles.push(document.title))
    .observe(document.querySelector("title"), { childList: true, characterData: true, subtree: true });
}"""
PLAYER = """() => app.graph._nodes.find(node => node.type === "DualDub_MixStems")
  .widgets.find(widget => widget.name === "audioUI").element"""
SOUND = """async player => {
  const bytes = await (await fetch(player.src)).arrayBuffer();
  const sound = await new AudioContext().decodeAudioData(bytes);
  const samples = sound.getChannelData(0);
  const loudest = samples.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return { src: player.src, duration: sound.duration, loudest };
}"""
PLAY = """async player => {
  await player.play();
  const start = player.currentTime;
  while (player.currentTime < start + 0.5 && !player.ended) await new Promise(done => setTimeout(done, 100));
  player.pause();
  return { advanced: player.currentTime - start, duration: player.duration };
}"""
TOLD_NOTES = """() => app.graph._nodes.filter(node => node.type === "MarkdownNote" && node.widgets.length > 1)
  .map(node => node.widgets.map(widget => widget.name))"""
VIEW = """() => {
  const boxes = app.graph._nodes.map(node => node.getBounding());
  const left = Math.min(...boxes.map(box => box[0])), top = Math.min(...boxes.map(box => box[1]));
  const width = Math.max(...boxes.map(box => box[0] + box[2])) - left;
  const height = Math.max(...boxes.map(box => box[1] + box[3])) - top;
  const { ds } = app.canvas;
  ds.scale = Math.min((innerWidth - 160) / width, (innerHeight - 160) / height, 1);
  ds.offset = [100 / ds.scale - left, 80 / ds.scale - top];
  app.canvas.setDirty(true, true);
}"""


def test_a_template_is_found_opened_run_and_heard(browser, comfy, pictures):
    page = opened(browser, comfy)
    show_templates(page)
    offered = page.locator("[data-testid^='template-workflow-']")
    names = {card.get_attribute("data-testid").removeprefix("template-workflow-") for card in offered.all()}
    assert names == TEMPLATES
    page.screenshot(path=pictures / "template_browser.png")

    choose(page, "full_soundtrack")
    run(page)
    page.wait_for_function("() => seen.progress.length > 5", timeout=1000 * RUN_SECONDS)
    page.screenshot(path=pictures / "running.png")
    (prompt,) = finished(page, 1)

    progress, titles = page.evaluate("() => [seen.progress, seen.titles]")
    assert min(progress) < 0.5 < max(progress) <= 1
    assert any("%" in title for title in titles)
    player = page.evaluate_handle(PLAYER)
    sound, played = player.evaluate(SOUND), player.evaluate(PLAY)
    assert [sound["duration"], played["duration"]] == pytest.approx([4.2, 4.2], abs=0.02)
    assert sound["loudest"] > 0.01
    assert played["advanced"] >= 0.5
    video = page.locator("video").first.element_handle()
    assert video.evaluate(PLAY)["advanced"] >= 0.5
    assert video.evaluate("video => video.videoWidth") == 384
    page.evaluate(VIEW)
    page.wait_for_timeout(2000)
    page.screenshot(path=pictures / "full_soundtrack.png")
    assert comfy.get(f"/history/{prompt}")[prompt]["status"]["status_str"] == "success"
    page.context.close()


def test_two_browsers_at_once_each_get_their_own_result(browser, comfy, pictures):
    names = ["full_soundtrack", "background_only"]
    pages = [opened(browser, comfy) for _ in names]
    for seed, (page, name) in enumerate(zip(pages, names, strict=True), start=100):
        show_templates(page)
        choose(page, name)
        # A seed of its own, so that nothing comes from the cache of another test.
        page.evaluate(f"""() => app.graph._nodes.find(node => node.type === "DualDub_Sampler")
          .widgets.find(widget => widget.name === "background_seed").value = {seed}""")
    for page in pages:
        run(page)
    prompts = [finished(page, 1)[0] for page in pages]
    assert len(set(prompts)) == 2
    for page, prompt, name in zip(pages, prompts, names, strict=True):
        history = comfy.get(f"/history/{prompt}")[prompt]
        (mix,) = [node for node, entry in history["prompt"][2].items() if entry["class_type"] == "DualDub_MixStems"]
        (file,) = history["outputs"][mix]["audio"]
        sound = page.evaluate_handle(PLAYER).evaluate(SOUND)
        assert file["filename"] in sound["src"]
        assert sound["loudest"] > 0.01
        assert page.evaluate(TOLD_NOTES) == [], "a note shows what another page's node said"
        page.evaluate(VIEW)
        page.wait_for_timeout(2000)
        page.screenshot(path=pictures / f"two_browsers_{name}.png")
    for page in pages:
        page.context.close()


def opened(browser, comfy):
    """A page of its own, past what ComfyUI shows on its first day."""
    comfy.post("/settings", {"Comfy.TutorialCompleted": True, "Comfy.Workflow.Persist": False})
    page = browser.new_context(viewport={"width": 1920, "height": 1080}).new_page()
    page.set_default_timeout(1000 * OPEN_SECONDS)
    page.goto(comfy.url)
    page.wait_for_function(READY)
    page.evaluate(WATCH)
    return page


def show_templates(page) -> None:
    """By the buttons: the template browser, and in it this pack."""
    page.locator(".templates-tab-button").first.click()
    page.get_by_text("ComfyUI-DualDub", exact=True).first.click()
    page.get_by_test_id("template-workflow-full_soundtrack").wait_for()
    # Cards come in as they are scrolled to.
    page.wait_for_function(
        f"() => document.querySelectorAll(\"[data-testid^='template-workflow-']\").length >= {len(TEMPLATES)}"
    )
    page.wait_for_function("() => [...document.querySelectorAll('img')].every(image => image.complete)")


def choose(page, name: str) -> None:
    """By a click on its picture; returns when its nodes are there."""
    nodes = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))["nodes"]
    page.get_by_test_id(f"template-workflow-{name}").click()
    kinds = json.dumps(sorted(node["type"] for node in nodes))
    page.wait_for_function(f"() => JSON.stringify(({KINDS})()) === JSON.stringify({kinds})")


def run(page) -> None:
    """By the button."""
    page.get_by_test_id("queue-button").click()


def finished(page, count: int) -> list[str]:
    """The prompts of this page that are done, once there are so many."""
    deadline = time.monotonic() + RUN_SECONDS
    while time.monotonic() < deadline:
        prompts = page.evaluate("() => seen.prompts")
        if len(prompts) >= count:
            page.wait_for_timeout(3000)
            return prompts
        page.wait_for_timeout(500)
    raise TimeoutError(f"no result after {RUN_SECONDS} s; the title says {page.title()}")
