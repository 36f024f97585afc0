"""Nodes that make lists: videos, scripts, voices, seeds. ComfyUI runs everything after a list once for each item."""

from fnmatch import fnmatch
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..dualdub_core.artifacts import load_voice
from ..dualdub_core.batch import VIDEO_SUFFIXES, parse_seeds
from ..dualdub_core.errors import DualDubError, InputError
from ..dualdub_core.scripts.formats import parse_script
from . import adapters as a
from . import folders, scripts

CATEGORY = "audio/dualdub/batch"
DIVIDER = "---"


class VideoList(io.ComfyNode):
    """A folder to videos."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_VideoList",
            display_name="Video List (DualDub)",
            category=CATEGORY,
            description="Every video of a folder, in the order of names; what follows runs once for each. Files that "
            "cannot be read are left out and told.",
            search_aliases=["batch videos", "folder", "load videos", "directory", "queue"],
            inputs=[
                io.String.Input(
                    "folder", default="", tooltip="In ComfyUI's input folder; empty is that folder itself."
                ),
                io.String.Input("pattern", default="*", tooltip="Of the names, such as shot_*.mp4."),
            ],
            outputs=[
                io.Video.Output("VIDEO", is_output_list=True, tooltip="The videos."),
                io.String.Output("name", is_output_list=True, tooltip="Their names without ending."),
                io.String.Output("report", tooltip="What was found, and what was left out."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, folder: str, pattern: str) -> str:
        """Runs again when a file is new or another."""
        return "\n".join(f"{path.name} {folders.fingerprint(path)}" for path in _videos(folder, pattern))

    @classmethod
    def execute(cls, folder: str, pattern: str) -> io.NodeOutput:
        """Probe each file."""
        good, told = [], []
        for path in _videos(folder, pattern):
            try:
                told.append(a.clip_info(path, 0.0, 0.0)[2])
                good.append(path)
            except DualDubError as error:
                told.append(f"left out: {error}")
        if not good:
            raise InputError(
                f"video list: got no video in '{folder}' named {pattern}" + "".join(f"; {t}" for t in told)
            )
        report = "\n".join([f"{len(good)} videos", *told])
        names = [path.stem for path in good]
        return io.NodeOutput([a.from_clip(path) for path in good], names, report, ui=a.said(cls, report))


class ScriptList(io.ComfyNode):
    """Text to scripts."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_ScriptList",
            display_name="Script List (DualDub)",
            category=CATEGORY,
            description="Several scripts from one text, divided by lines of three dashes; what follows runs once for "
            "each. Each may have cues and names, or be SRT.",
            search_aliases=["batch scripts", "several texts", "prompts list", "translations", "lines"],
            inputs=[
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=False,
                    default="",
                    placeholder="We made it.\n---\nNous y sommes.",
                    tooltip="Scripts, with a line of --- between each two.",
                )
            ],
            outputs=[
                scripts.ScriptSocket.Output("script", is_output_list=True, tooltip="For Script Sampler."),
                io.String.Output("text", is_output_list=True, tooltip="The words of each, for the plain sampler."),
            ],
        )

    @classmethod
    def execute(cls, text: str) -> io.NodeOutput:
        """Read each."""
        parts = [part.strip() for part in f"\n{text}\n".replace("\r\n", "\n").split(f"\n{DIVIDER}\n")]
        found = [parse_script(part) for part in parts if part]
        if not found:
            raise InputError(f"script list: got no text, expected scripts with lines of {DIVIDER} between them")
        return io.NodeOutput(found, [script.text for script in found])


class VoiceList(io.ComfyNode):
    """Names to voices."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_VoiceList",
            display_name="Voice List (DualDub)",
            category=CATEGORY,
            description="Several voices kept by Save Voice; what follows runs once for each.",
            search_aliases=["batch voices", "casting", "compare voices", "speakers"],
            inputs=[
                io.String.Input(
                    "names",
                    multiline=True,
                    dynamic_prompts=False,
                    default="*",
                    tooltip="Files of models/dualdub/voices, a line each, with or without ending; * takes all.",
                )
            ],
            outputs=[
                a.VoiceSocket.Output("voice", is_output_list=True, tooltip="For a sampler."),
                io.String.Output("name", is_output_list=True, tooltip="Their names."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, names: str) -> str:
        """Runs again when a voice is new or another."""
        return "\n".join(f"{path.name} {folders.fingerprint(path)}" for path in _voices(names))

    @classmethod
    def execute(cls, names: str) -> io.NodeOutput:
        """Read the files."""
        paths = _voices(names)
        if not paths:
            raise InputError("voice list: there are no voices; keep some with Save Voice")
        return io.NodeOutput([load_voice(path) for path in paths], [path.stem for path in paths])


class SeedList(io.ComfyNode):
    """Text to seeds."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_SeedList",
            display_name="Seed List (DualDub)",
            category=CATEGORY,
            description="Several seeds; what follows runs once for each.",
            search_aliases=["batch seeds", "variations", "seed range", "many takes"],
            inputs=[io.String.Input("seeds", default="1-4", tooltip="Numbers and ranges, such as 1, 5, 9-12.")],
            outputs=[io.Int.Output("seed", is_output_list=True, tooltip="For a sampler's seeds.")],
        )

    @classmethod
    def execute(cls, seeds: str) -> io.NodeOutput:
        """Read the numbers."""
        found = parse_seeds(seeds)
        if not found:
            raise InputError("seed list: got no seeds, expected numbers and ranges such as 1, 5, 9-12")
        return io.NodeOutput(found)


def _videos(folder: str, pattern: str) -> list[Path]:
    home = folders.input_folder(folder)
    names = sorted(path.name for path in home.iterdir() if path.is_file() and not path.name.startswith("."))
    chosen = [name for name in names if fnmatch(name, pattern or "*") and name.lower().endswith(VIDEO_SUFFIXES)]
    return [folders.input_path(f"{folder}/{name}" if folder else name) for name in chosen]


def _voices(names: str) -> list[Path]:
    wanted = [name.strip() for name in (names or "*").replace(",", "\n").splitlines() if name.strip()]
    if wanted == ["*"]:
        wanted = sorted(folder_paths.get_filename_list(folders.VOICES))
    return [folders.voice_path(name if name.endswith(".safetensors") else f"{name}.safetensors") for name in wanted]
