"""The templates that ComfyUI's browser offers: well formed, equal to their API twins, and they run."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from PIL import Image

from dualdub_core.artifacts import load_codes
from dualdub_core.checkpoint import read_header
from dualdub_core.media.broadcast import read_broadcast_start
from dualdub_core.media.sound import probe
from dualdub_core.provenance.stamps import read_provenance
from dualdub_core.scripts.captions import parse_srt
from dualdub_core.scripts.formats import parse_script
from dualdub_core.scripts.vocabulary import unknown_words
from dualdub_core.system import BUILTIN

WORKFLOWS = Path(__file__).parents[2] / "workflows"
API = Path(__file__).parent / "api"
SCHEMAS = json.loads((Path(__file__).parent / "schemas.json").read_text())
NAMES = [
    "full_soundtrack",
    "background_only",
    "new_voice_over_locked_background",
    "timed_script_two_voices",
    "retake_range",
    "quality_gate",
    "long_video",
    "compare_decoders",
    "master_and_hand_off",
    "batch_of_scripts",
    "check_before_running",
]
NOTES = {"MarkdownNote", "Note"}
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
SPOKEN = {"DualDub_Script", "DualDub_CuedScript", "DualDub_ScriptList"}
EXAMPLE = " (example)"

# What is looked at beyond what a template shows: name -> (node, its output).
LOOKS = {
    "quality_gate": {"scores": ("DualDub_GatedSampler", 1)},
    "long_video": {"plan": ("DualDub_LongVideoPlan", 2), "cuts": ("DualDub_ShotCuts", 1)},
    "master_and_hand_off": {"measured": ("DualDub_MasterStems", 4)},
    "batch_of_scripts": {"report": ("DualDub_BatchGrid", 6)},
    "check_before_running": {"ready": ("DualDub_Preflight", 2), "fits": ("DualDub_PlanPreview", 4)},
}


def test_every_template_is_known_here_and_has_a_picture():
    names = {path.stem for path in WORKFLOWS.glob("*.json")}
    assert names == {path.stem for path in API.glob("*.json")} == set(NAMES)
    assert names == {path.stem for path in WORKFLOWS.glob("*.jpg")}
    for name in NAMES:
        path = WORKFLOWS / f"{name}.jpg"
        assert path.stat().st_size < 100_000, name
        with Image.open(path) as picture:
            assert picture.width >= 800, name


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
def test_links_of_a_template_fit_both_ends_and_lead_to_the_right(name):
    ui = template(name)
    nodes = {node["id"]: node for node in ui["nodes"]}
    for link, source, slot, target, entry, kind in ui["links"]:
        out, into = nodes[source]["outputs"][slot], nodes[target]["inputs"][entry]
        assert link in out["links"]
        assert into["link"] == link
        assert out["type"] == kind
        assert kind in into["type"].split(",")
        assert nodes[source]["pos"][0] <= nodes[target]["pos"][0], f"link {link} leads to the left"
    assert ui["last_node_id"] == max(nodes)
    assert ui["last_link_id"] == max(link[0] for link in ui["links"])


@pytest.mark.parametrize("name", NAMES)
def test_a_template_explains_itself_in_a_few_lines(name):
    (note,) = [node for node in template(name)["nodes"] if node["type"] in NOTES]
    (text,) = note["widgets_values"]
    steps = [line for line in text.splitlines() if line[:2] in {"1.", "2.", "3."}]
    assert 2 <= len(steps) <= 3
    assert len(text) < 800


@pytest.mark.parametrize("name", NAMES)
def test_a_template_needs_nothing_that_does_not_ship(name):
    known = read_header(BUILTIN).info
    for node in to_api(template(name)).values():
        for value in node["inputs"].values():
            if isinstance(value, str) and value.endswith(EXAMPLE):
                assert (WORKFLOWS / "assets" / value.removesuffix(EXAMPLE)).is_file()
        assert node["inputs"].get("checkpoint", "built-in mini") == "built-in mini"
        if node["class_type"] in SPOKEN:
            scripts = [parse_script(part) for part in node["inputs"]["text"].split("\n---\n")]
            assert unknown_words((line.text for script in scripts for line in script.lines), known) == ()


@dataclass(frozen=True)
class Ran:
    """A template that ran once: what was asked, what came out, and where."""

    prompt: dict
    outputs: dict
    comfy: Any

    def node(self, kind: str) -> str:
        return node_of(self.prompt, kind)

    def given(self, kind: str) -> dict:
        return self.prompt[self.node(kind)]["inputs"]

    def text(self, name: str) -> str:
        return self.outputs[name]["text"][0]

    def files(self, node: str, kind: str = "images") -> list[Path]:
        return self.comfy.saved(self.outputs, node, kind)

    def sound(self, node: str) -> NDArray[np.float64]:
        (path,) = self.files(node, "audio")
        return soundfile.read(path)[0]

    def folder(self, kind: str) -> Path:
        return (self.comfy.base / "output" / self.given(kind)["filename_prefix"]).parent


@pytest.fixture(scope="module")
def ran(comfy) -> Callable[[str], Ran]:
    """Runs a template, once for all tests, with a look at what it does not show itself."""
    done: dict[str, Ran] = {}

    def run(name: str) -> Ran:
        if name not in done:
            prompt = watched(name)
            done[name] = Ran(prompt, comfy.run(prompt), comfy)
        return done[name]

    return run


@pytest.mark.comfy
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_template_runs_and_its_videos_keep_their_pictures_and_get_sound(ran, name):
    take = ran(name)
    path = WORKFLOWS / "assets" / take.given("DualDub_LoadVideo")["file"].removesuffix(EXAMPLE)
    for node in nodes_of(take.prompt, "DualDub_SoundtrackToVideo"):
        videos = take.files(node)
        assert videos
        for video in videos:
            check_video(video, path, take.prompt)
    for node in nodes_of(take.prompt, "DualDub_MixStems"):
        for mix in take.files(node, "audio"):
            sound, rate = soundfile.read(mix)
            assert len(sound) == round(probe(path).duration * rate)
            assert abs(sound).max() > 0.01, "silence"


@pytest.mark.comfy
@pytest.mark.slow
def test_a_template_takes_a_video_of_the_artists_own(comfy):
    prompt = twin("background_only")
    prompt[node_of(prompt, "DualDub_LoadVideo")]["inputs"]["file"] = "clip.mp4"
    (video,) = comfy.saved(comfy.run(prompt), node_of(prompt, "DualDub_SoundtrackToVideo"))
    check_video(video, comfy.base / "input" / "clip.mp4", prompt)


@pytest.mark.comfy
@pytest.mark.slow
def test_saved_stems_are_equally_long_and_add_up(ran):
    folder = ran("full_soundtrack").folder("DualDub_SaveStems")
    stems = {path.stem.rsplit("_", 1)[1]: soundfile.read(path)[0] for path in folder.glob("soundtrack_*.wav")}
    assert set(stems) == {"mix", "speech", "background"}
    assert abs(stems["speech"] + stems["background"] - stems["mix"]).max() <= 2.5 / 2**23


@pytest.mark.comfy
@pytest.mark.slow
def test_lines_of_the_timed_script_are_heard_within_a_tenth_of_a_second_of_their_cues(ran):
    take = ran("timed_script_two_voices")
    (file,) = take.folder("DualDub_Captions").glob("two_voices_*.srt")
    heard = parse_srt(file.read_text(encoding="utf-8")).lines
    asked = parse_script(take.given("DualDub_CuedScript")["text"]).lines
    assert [line.text for line in heard] == [line.text for line in asked]
    assert [line.start for line in heard] == pytest.approx([line.start for line in asked], abs=0.1)


@pytest.mark.comfy
@pytest.mark.slow
def test_the_retake_keeps_every_code_outside_of_its_range_and_the_background(ran):
    take = ran("retake_range")
    first, again = (load_codes(path) for path in sorted(take.folder("DualDub_SoundtrackToVideo").glob("range_*")))
    start = round(take.given("DualDub_RetakeRange")["start"] * 40)
    assert torch.equal(first.background, again.background)
    assert torch.equal(first.speech[:, :start], again.speech[:, :start])
    assert not torch.equal(first.speech, again.speech)


@pytest.mark.comfy
@pytest.mark.slow
def test_the_gate_tells_of_every_take_and_the_sheet_draws_the_one_that_was_kept(ran):
    take = ran("quality_gate")
    takes = json.loads(take.text("scores"))["gate"]["takes"]
    assert 1 <= len(takes) <= take.given("DualDub_GatedSampler")["takes"]
    assert all(entry["passed"] == (not entry["failed"]) for entry in takes)
    for kind in ("DualDub_GatedSampler", "DualDub_TakeSheet"):
        (picture,) = take.files(take.node(kind))
        with Image.open(picture) as image:
            assert image.width >= 400


@pytest.mark.comfy
@pytest.mark.slow
def test_windows_of_the_long_video_begin_at_its_cuts(ran):
    take = ran("long_video")
    assert [float(time) for time in take.text("cuts").split()] == pytest.approx([4.2, 8.4], abs=0.05)
    starts = [window["start_seconds"] for window in json.loads(take.text("plan"))["windows"]]
    assert starts == pytest.approx([0.0, 4.2, 8.4], abs=0.05)


@pytest.mark.comfy
@pytest.mark.slow
def test_two_decoders_give_another_sound_of_the_same_length(ran):
    take = ran("compare_decoders")
    one, other = (take.sound(node) for node in nodes_of(take.prompt, "DualDub_MixStems"))
    assert len(one) == len(other)
    assert abs(one - other).max() > 0.01


@pytest.mark.comfy
@pytest.mark.slow
def test_an_editor_gets_tracks_stamps_the_target_loudness_and_the_consent_note(ran):
    take = ran("master_and_hand_off")
    given, folder = take.given("DualDub_Handoff"), take.folder("DualDub_Handoff")
    stems = sorted(folder.glob("hand_off_*.wav"))
    assert [path.stem.rsplit("_", 1)[1] for path in stems] == ["background", "mix", "speech"]
    assert [read_broadcast_start(path) for path in stems] == [given["timeline_start"]] * 3
    (note,) = read_provenance(stems[0]).voices
    assert note.consent == take.given("DualDub_Voice")["consent"]
    (tracks,) = folder.glob("hand_off_*_tracks.mp4")
    with av.open(str(tracks)) as container:
        assert len(container.streams.audio) == 3
    assert json.loads(take.text("measured"))["lufs"]["mix"] == pytest.approx(-23.0, abs=0.1)


@pytest.mark.comfy
@pytest.mark.slow
def test_a_batch_names_its_files_and_leaves_out_what_cannot_work(ran):
    take = ran("batch_of_scripts")
    told = take.text("report").splitlines()
    kept = [line.rsplit("/", 1)[1] for line in told if "left out" not in line]
    assert len(kept) == 4
    assert len(told) == 6
    videos = take.files(take.node("DualDub_SoundtrackToVideo"))
    assert [path.name.rsplit("_", 2)[0] for path in videos] == kept


@pytest.mark.comfy
@pytest.mark.slow
def test_the_check_says_ready_and_that_the_words_fit(ran):
    take = ran("check_before_running")
    assert [take.text(name) for name in ("ready", "fits")] == ["True", "True"]


def watched(name: str) -> dict:
    """A template's prompt with nodes that show more of it."""
    prompt = twin(name)
    for key, (node, slot) in LOOKS.get(name, {}).items():
        source = [node_of(prompt, node), slot]
        prompt[key] = {"class_type": "PreviewAny", "inputs": {"source": source}}
    for number, node in enumerate(nodes_of(prompt, "DualDub_Sampler") if name == "retake_range" else ()):
        kept = {"codes": [node, 0], "filename_prefix": f"dualdub/range_{number}"}
        prompt[f"codes {number}"] = {"class_type": "DualDub_SaveCodes", "inputs": kept}
    return prompt


def template(name: str) -> dict:
    return json.loads((WORKFLOWS / f"{name}.json").read_text())


def twin(name: str) -> dict:
    return json.loads((API / f"{name}.json").read_text())


def nodes_of(prompt: dict, kind: str) -> list[str]:
    return [name for name, node in prompt.items() if node["class_type"] == kind]


def node_of(prompt: dict, kind: str) -> str:
    (found,) = nodes_of(prompt, kind)
    return found


def check_video(video: Path, path: Path, prompt: dict) -> None:
    """It has the pictures of its source, packet by packet, a sound, and the graph that made it."""
    source, made = probe(path), probe(video)
    assert made.has_audio
    assert (made.width, made.height, made.num_frames) == (source.width, source.height, source.num_frames)
    assert made.duration == pytest.approx(source.duration, abs=1e-3)
    with av.open(str(video)) as container:
        kept = json.loads(container.metadata["prompt"])
    assert {name: node["inputs"] for name, node in kept.items()} == {
        name: node["inputs"] for name, node in prompt.items()
    }
    assert picture_packets(video) == picture_packets(path), "pictures were not copied"


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
