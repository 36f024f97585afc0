"""What ComfyUI makes of the pack: nodes, their faces, help pages, folders and templates.

`DUALDUB_UPDATE=1` rewrites `schemas.json` and the tables of the help pages from what ComfyUI says; read the
difference before committing it: saved workflows hold widgets by position.
"""

import json
import os
from pathlib import Path

import pytest

pytestmark = [pytest.mark.comfy, pytest.mark.slow]

PACK = Path(__file__).parents[2]
SCHEMAS = Path(__file__).parent / "schemas.json"
DOCS = PACK / "nodes/web/docs"
FILE_LISTS = {"file", "audio", "checkpoint", "certificate"}
UPDATE = bool(os.environ.get("DUALDUB_UPDATE"))


@pytest.fixture(scope="module")
def nodes(comfy) -> dict[str, dict]:
    """What /object_info says of our nodes."""
    found = {name: info for name, info in comfy.get("/object_info").items() if name.startswith("DualDub_")}
    assert found, comfy.log.read_text()[-3000:]
    return found


def test_the_pack_imports_without_complaint(comfy, nodes):
    log = comfy.log.read_text()
    assert "Error while calling comfy_entrypoint" not in log
    assert not [line for line in log.splitlines() if "IMPORT FAILED" in line and "DualDub" in line]
    assert all(info["category"].startswith("audio/dualdub") for info in nodes.values())


def test_every_node_input_and_output_explains_itself(nodes):
    silent = [name for name, info in nodes.items() if not info["description"] or not info["search_aliases"]]
    for name, info in nodes.items():
        silent += [f"{name}.{key}" for key, options in inputs_of(info) if not options.get("tooltip")]
        tips = info.get("output_tooltips") or [None] * len(info["output"])
        silent += [f"{name} -> {key}" for key, tip in zip(info["output_name"], tips, strict=True) if not tip]
    assert not silent


def test_schemas_are_those_that_saved_workflows_know(nodes):
    seen = {name: frozen(info) for name, info in sorted(nodes.items())}
    if UPDATE:
        SCHEMAS.write_text(json.dumps(seen, indent=1) + "\n")
    assert seen == json.loads(SCHEMAS.read_text())


def test_every_node_has_a_help_page_that_comfyui_serves(comfy, nodes):
    for name, info in nodes.items():
        page = DOCS / f"{name}.md"
        prose = page.read_text().split("## Inputs")[0]
        if UPDATE:
            page.write_text(prose + tables(info))
        assert comfy.text(f"/extensions/ComfyUI-DualDub/docs/{name}.md") == prose + tables(info)
        assert prose.startswith(f"# {info['display_name']}\n")
        assert len(prose) > 100
    assert {page.stem for page in DOCS.iterdir()} == set(nodes)


def test_the_browser_gets_the_players(comfy):
    assert "/extensions/ComfyUI-DualDub/dualdub.js" in comfy.get("/extensions")


def test_templates_and_thumbnails_are_served(comfy):
    names = {path.stem for path in (PACK / "workflows").glob("*.json")}
    assert set(comfy.get("/workflow_templates")["ComfyUI-DualDub"]) == names
    assert names == {path.stem for path in (PACK / "workflows").glob("*.jpg")}


def test_extra_model_paths_stay_beside_our_own_folder(nodes):
    options = dict(inputs_of(nodes["DualDub_LoadDualDub"]))["checkpoint"]["options"]
    assert options[0] == "built-in mini"
    assert "elsewhere.safetensors" in options


def test_media_lists_hold_the_input_folder_and_the_examples(nodes):
    videos = dict(inputs_of(nodes["DualDub_LoadVideo"]))["file"]["options"]
    sounds = dict(inputs_of(nodes["DualDub_LoadAudio"]))["audio"]["options"]
    assert "clip.mp4" in videos
    assert videos[-2:] == ["demo.mp4 (example)", "film.mp4 (example)"]
    assert not {"anna.wav", "take.png (example)"} & set(videos)
    assert {"anna.wav", "clip.mp4", "voice.wav (example)", "bed.flac (example)"} <= set(sounds)


def inputs_of(info: dict) -> list[tuple[str, dict]]:
    """Inputs in order, with their options."""
    return [
        (name, {**(spec[1] if len(spec) > 1 else {}), "type": spec[0], "optional": group == "optional"})
        for group in ("required", "optional")
        for name, spec in info["input"].get(group, {}).items()
    ]


def frozen(info: dict) -> dict:
    """What saved workflows and prompts depend on."""
    kept = ("type", "optional", "default", "min", "max", "forceInput", "control_after_generate", "video_upload")
    inputs = []
    for name, options in inputs_of(info):
        entry = {"name": name, **{key: options[key] for key in kept if options.get(key) not in (None, False, "")}}
        if options["type"] == "COMBO" and not (name in FILE_LISTS or "LoadVoice" in info["name"]):
            entry["options"] = options["options"]
        inputs.append(entry)
    outputs = [f"{name}: {kind}" for name, kind in zip(info["output_name"], info["output"], strict=True)]
    return {"inputs": inputs, "outputs": outputs, "output_is_list": info["output_is_list"]}


def tables(info: dict) -> str:
    """The part of a help page that the schema already says."""
    rows = [f"| {name} | {options['tooltip']} |" for name, options in inputs_of(info)]
    outs = [f"| {name} | {tip} |" for name, tip in zip(info["output_name"], info["output_tooltips"], strict=True)]
    head = ["| name | what it is |", "| --- | --- |"]
    return "\n".join(["## Inputs", "", *head, *rows, "", "## Outputs", "", *head, *outs, ""])
