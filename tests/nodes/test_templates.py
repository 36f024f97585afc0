"""The templates that ComfyUI's browser offers: well formed, equal to their API twins, and they run."""

import json
from pathlib import Path

import av
import pytest
import soundfile

from dualdub_core.media.sound import probe

WORKFLOWS = Path(__file__).parents[2] / "workflows"
API = Path(__file__).parent / "api"
SCHEMAS = json.loads((Path(__file__).parent / "schemas.json").read_text())
NAMES = ["full_soundtrack", "background_only", "new_voice_over_locked_background"]
NOTES = {"MarkdownNote", "Note"}
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


def test_every_template_is_known_here():
    assert {path.stem for path in WORKFLOWS.glob("*.json")} == {path.stem for path in API.glob("*.json")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_template_says_the_same_as_its_api_twin(name):
    assert to_api(template(name)) == json.loads((API / f"{name}.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_nodes_of_a_template_do_not_overlap(name):
    boxes = [(n["id"], *n["pos"], *n["size"]) for n in template(name)["nodes"]]
    for i, (a, ax, ay, aw, ah) in enumerate(boxes):
        for b, bx, by, bw, bh in boxes[i + 1 :]:
            apart = ax + aw <= bx or bx + bw <= ax or ay + ah + 30 <= by or by + bh + 30 <= ay
            assert apart, f"nodes {a} and {b}"


@pytest.mark.parametrize("name", NAMES)
def test_links_of_a_template_fit_both_ends(name):
    ui = template(name)
    nodes = {node["id"]: node for node in ui["nodes"]}
    for link, source, slot, target, entry, kind in ui["links"]:
        out, into = nodes[source]["outputs"][slot], nodes[target]["inputs"][entry]
        assert link in out["links"]
        assert into["link"] == link
        assert out["type"] == into["type"] == kind
    assert ui["last_node_id"] == max(nodes)
    assert ui["last_link_id"] == max(link[0] for link in ui["links"])


@pytest.mark.comfy
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_template_runs_on_a_real_video(comfy, name):
    prompt = json.loads((API / f"{name}.json").read_text())
    for node in prompt.values():
        if node["class_type"] == "DualDub_LoadVideo":
            node["inputs"]["file"] = "clip.mp4"
    outputs = comfy.run(prompt)
    (video,) = comfy.saved(outputs, node_of(prompt, "DualDub_SoundtrackToVideo"))
    source = probe(comfy.base / "input" / "clip.mp4")
    made = probe(video)
    assert made.has_audio
    assert (made.width, made.height, made.num_frames) == (source.width, source.height, source.num_frames)
    assert made.duration == pytest.approx(source.duration, abs=1e-3)
    with av.open(str(video)) as container:
        kept = json.loads(container.metadata["prompt"])
    assert {name: node["inputs"] for name, node in kept.items()} == {
        name: node["inputs"] for name, node in prompt.items()
    }
    assert picture_packets(video) == picture_packets(comfy.base / "input" / "clip.mp4"), "pictures were not copied"
    (mix,) = comfy.saved(outputs, node_of(prompt, "DualDub_MixStems"), "audio")
    sound = soundfile.info(mix)
    assert sound.frames == round(source.duration * sound.samplerate)


@pytest.mark.comfy
@pytest.mark.slow
def test_saved_stems_are_equally_long_and_add_up(comfy):
    prompt = json.loads((API / "full_soundtrack.json").read_text())
    prompt[node_of(prompt, "DualDub_SaveStems")]["inputs"]["filename_prefix"] = "stems/take"
    comfy.run(prompt)
    stems = {p.stem.rsplit("_", 1)[1]: soundfile.read(p)[0] for p in (comfy.base / "output/stems").glob("*.wav")}
    assert set(stems) == {"mix", "speech", "background"}
    assert abs(stems["speech"] + stems["background"] - stems["mix"]).max() <= 2.5 / 2**23


def template(name: str) -> dict:
    return json.loads((WORKFLOWS / f"{name}.json").read_text())


def node_of(prompt: dict, kind: str) -> str:
    (found,) = [name for name, node in prompt.items() if node["class_type"] == kind]
    return found


def picture_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]


def to_api(ui: dict) -> dict:
    """What ComfyUI's browser sends for a template of our nodes."""
    sources = {link[0]: [str(link[1]), link[2]] for link in ui["links"]}
    prompt = {}
    for node in ui["nodes"]:
        if node["type"] in NOTES:
            continue
        linked = {entry["name"]: sources[entry["link"]] for entry in node["inputs"] if entry["link"] is not None}
        values = iter(node["widgets_values"])
        inputs = {}
        for entry in SCHEMAS[node["type"]]["inputs"]:
            if entry["type"] in WIDGETS and not entry.get("forceInput"):
                inputs[entry["name"]] = next(values)
                if entry.get("control_after_generate"):
                    assert next(values) in {"fixed", "increment", "decrement", "randomize"}
        assert list(values) in ([], ["image"], [None, None]), "widgets that the schema does not know"
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": {**inputs, **linked}}
    return prompt
