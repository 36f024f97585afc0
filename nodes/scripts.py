"""Nodes for scripts with times: reading, planning, voices by name, sampling line by line."""

import json
import os

import folder_paths
from comfy_api.latest import io, ui

from ..dualdub_core.dualbench.pictures import to_tensor
from ..dualdub_core.errors import InputError
from ..dualdub_core.media.sound import clip_length, probe
from ..dualdub_core.pipeline import Lock
from ..dualdub_core.sampling import SamplingConfig, Seeds
from ..dualdub_core.scripts.formats import SCRIPT_SUFFIXES, parse_script, read_script
from ..dualdub_core.scripts.plan import plan_script
from ..dualdub_core.scripts.plan_picture import draw_plan
from ..dualdub_core.scripts.rerolls import parse_rerolls
from ..dualdub_core.scripts.script import Script
from ..dualdub_core.scripts.scripted import sample_script
from ..dualdub_core.types import Task, VideoFeatures, Voice
from . import adapters as a
from . import folders, live, origin
from .sampling import seed_input

CATEGORY = "audio/dualdub/script"
NO_FILE = "none"
BACKGROUNDS = ("on its own", "hears the speech")

ScriptSocket = io.Custom("DUALDUB_SCRIPT")
VoicesSocket = io.Custom("DUALDUB_VOICES")


def _files() -> list[str]:
    entries = os.scandir(folder_paths.get_input_directory())
    names = sorted(e.name for e in entries if e.is_file() and e.name.lower().endswith(SCRIPT_SUFFIXES))
    return [NO_FILE, *names]


def _seconds(name: str, tooltip: str) -> io.Float.Input:
    return io.Float.Input(name, default=0.0, min=0.0, max=86_400.0, step=0.01, tooltip=tooltip)


class CuedScript(io.ComfyNode):
    """Text or a file to a script with times."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_CuedScript",
            display_name="Script with Cues (DualDub)",
            category=CATEGORY,
            description="What is said, when and by whom: words with cues such as [00:01.2] and names such as [Anna], "
            "SRT, WebVTT, or words alone. Which of them it is, is found out from the text.",
            search_aliases=["srt", "vtt", "subtitle", "timed script", "dialogue", "cue", "speaker", "captions"],
            inputs=[
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=False,
                    default="",
                    placeholder="[00:01.2] [Anna] Who is there?\n[00:03-00:04.5] [Ben] Me.",
                    tooltip="Words with cues, SRT, WebVTT, or words alone. Empty if a file is chosen below.",
                ),
                io.Combo.Input(
                    "file",
                    options=_files(),
                    tooltip="A .srt, .vtt, .txt or .json file in ComfyUI's input folder instead of the text.",
                ),
                _seconds("clip_start", "Seconds into the video where the clip starts; times count from the video's."),
            ],
            outputs=[
                ScriptSocket.Output("script", tooltip="The lines, for Plan Preview, Script Sampler and Captions."),
                io.String.Output("text", tooltip="All the words, for the plain sampler or a score."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, file: str | None) -> bool | str:
        """Files copied in since the list was made count too."""
        return file == NO_FILE or folders.check_input(file)

    @classmethod
    def fingerprint_inputs(cls, text: str, file: str, clip_start: float) -> str:  # noqa: ARG003
        """Runs again when the file changes."""
        return "" if file == NO_FILE else folders.fingerprint(folders.input_path(file))

    @classmethod
    def execute(cls, text: str, file: str, clip_start: float) -> io.NodeOutput:
        """Read the lines."""
        if file != NO_FILE and text.strip():
            raise InputError(f"script: got a text and the file {file}; clear the text or choose no file")
        script = (parse_script(text) if file == NO_FILE else read_script(folders.input_path(file))).part(clip_start)
        cued = sum(line.start is not None for line in script.lines)
        said = f"{len(script.lines)} lines, {cued} with times, speakers: {', '.join(script.speakers) or 'not named'}"
        return io.NodeOutput(script, script.text, ui=a.said(cls, said))


class PlanPreview(io.ComfyNode):
    """A script and a clip's length to a plan, without weights."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_PlanPreview",
            display_name="Plan Preview (DualDub)",
            category=CATEGORY,
            description="When each line is spoken and whether its words fit there, as a picture and a table. Needs "
            "no weights, so a script can be put right before anything is sampled.",
            search_aliases=["preflight", "timing", "does it fit", "speech length", "script check", "timeline"],
            inputs=[
                ScriptSocket.Input("script", tooltip="From Script with Cues."),
                _seconds("duration", "Seconds of the clip, if no video is connected. 0 ends with the last line."),
                io.Video.Input("video", optional=True, tooltip="The clip; it gives the duration."),
            ],
            outputs=[
                ScriptSocket.Output("script", tooltip="The script with the planned times."),
                io.String.Output("plan", tooltip="A table, a row a line; * marks times that the script leaves open."),
                io.String.Output("json", tooltip="The plan as JSON."),
                io.Image.Output("picture", tooltip="Slots in grey; green fits, amber in a hurry, red does not fit."),
                io.Boolean.Output("fits", tooltip="Whether no line is too long for its slot."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, script: Script, duration: float, video: object = None) -> io.NodeOutput:
        """Plan and draw."""
        seconds = duration or None
        if video is not None:
            clip = a.to_clip(video)
            seconds = clip_length(probe(clip.source).duration, clip.start, clip.duration, "plan preview")
        plan = plan_script(script, seconds)
        picture = to_tensor(draw_plan(plan))
        a.said(cls, plan.table())
        data = json.dumps(plan.as_dict(), indent=2, ensure_ascii=False)
        planned = script if script.is_plain else plan.script()
        return io.NodeOutput(planned, plan.table(), data, picture, plan.fits, ui=ui.PreviewImage(picture, cls=cls))


class NamedVoice(io.ComfyNode):
    """A voice to voices by name."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_NamedVoice",
            display_name="Voice by Name (DualDub)",
            category=CATEGORY,
            description="Gives a voice the name that it has in the script. Chain one node for each speaker.",
            search_aliases=["multi speaker", "character voice", "cast", "roles", "several voices"],
            inputs=[
                a.VoiceSocket.Input("voice", tooltip="From Voice, Load Voice or Blend Voices."),
                io.String.Input(
                    "name",
                    default="",
                    tooltip="As in the script, in any case. Empty: everyone who has no voice of their own.",
                ),
                VoicesSocket.Input("voices", optional=True, tooltip="More voices, to chain this node."),
            ],
            outputs=[VoicesSocket.Output("voices", tooltip="For Script Sampler.")],
        )

    @classmethod
    def execute(cls, voice: Voice, name: str, voices: dict[str, Voice] | None = None) -> io.NodeOutput:
        """Add the voice."""
        name = " ".join(name.split())
        if name.casefold() in map(str.casefold, voices or {}):
            raise InputError(f"voice by name: got '{name}' twice; give each speaker one voice")
        return io.NodeOutput({**(voices or {}), name: voice})


class ScriptSampler(io.ComfyNode):
    """Conditions and a script to the codes of both streams."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_ScriptSampler",
            display_name="Script Sampler (DualDub)",
            category=CATEGORY,
            description="Writes each line in its own slot, in its own voice and from its own seed; outside of the "
            "slots speech is silent. A line with a time starts there. Changing a line leaves the others as they are.",
            search_aliases=["dubbing", "srt to speech", "timed speech", "multi speaker", "dialogue sampler", "tts"],
            inputs=[
                a.Model.Input("model", tooltip="From Load DualDub."),
                a.Codec.Input("codec", tooltip="The codec of this model: it says what silence is."),
                ScriptSocket.Input("script", tooltip="From Script with Cues."),
                seed_input("speech", "Of the speech alone. Each line makes its own seed of this and its words."),
                seed_input("background", "Of the background alone. It changes no line."),
                io.Int.Input(
                    "takes", default=1, min=1, max=64, tooltip="Takes in one run; take n uses the seeds plus n."
                ),
                io.String.Input(
                    "rerolls", default="", tooltip="New speech seeds of single lines, such as 2:7, 5:1. Others stay."
                ),
                io.Combo.Input(
                    "background",
                    options=list(BACKGROUNDS),
                    tooltip="On its own: from the pictures, so that no new line changes it. Or to fit what is spoken.",
                ),
                _seconds("duration", "Seconds of the clip without a video. 0 ends with the last line."),
                a.Features.Input(
                    "features", optional=True, tooltip="From Encode Video; they set the duration. Without: speech only."
                ),
                a.VoiceSocket.Input("voice", optional=True, tooltip="Everyone who is not among the voices."),
                VoicesSocket.Input("voices", optional=True, tooltip="From Voice by Name."),
                a.SamplingSocket.Input("sampling", optional=True, tooltip="From Sampling Settings."),
                a.LockSocket.Input("locks", optional=True, tooltip="From Lock Stream or Retake Range."),
                live.preview_input(),
            ],
            outputs=[a.CodesSocket.Output("codes", tooltip="For the decoders, Retake Range, Save Codes.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: a.Managed,
        codec: a.Managed,
        script: Script,
        speech_seed: int,
        background_seed: int,
        takes: int,
        rerolls: str,
        background: str,
        duration: float,
        features: VideoFeatures | None = None,
        voice: Voice | None = None,
        voices: dict[str, Voice] | None = None,
        sampling: SamplingConfig | None = None,
        locks: tuple[Lock, ...] = (),
        live_preview: bool = True,
    ) -> io.NodeOutput:
        """Run the language model for each line."""
        network, network_of_codes = a.on_device(model=model, codec=codec)
        sampling, progress, watch = sampling or model.preferred_sampling, a.comfy_progress(), None
        if features is not None and live.codec_of(model, codec, wanted=live_preview) is not None:
            watch = live.previews(cls, network_of_codes, Task.JOINT.streams, features.duration, progress)
        codes = sample_script(
            network,
            model.tokenizer,
            network_of_codes,
            script=script,
            voices={**({"": voice} if voice is not None else {}), **(voices or {})},
            features=features,
            duration=duration or None,
            sampling=sampling,
            seeds=Seeds(speech=speech_seed, background=background_seed),
            rerolls=parse_rerolls(rerolls),
            locks=locks,
            background=background,
            batch_size=takes,
            progress=progress,
            watch=watch,
        )
        codes = origin.sampled(
            codes,
            model,
            task=Task.SPEECH if features is None else Task.JOINT,
            seeds={"speech": speech_seed, "background": background_seed},
            script=script,
            voices=[*([] if voice is None else [voice]), *(voices or {}).values()],
            locks=locks,
            sampling=sampling,
        )
        warning = model.warning_about(*(line.text for line in script.lines))
        return io.NodeOutput(codes, ui=a.said(cls, f"{len(script.lines)} lines, {a.codes_text(codes)}{warning}"))
