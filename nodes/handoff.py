"""A node that gives a take to an editor: tracks, stamped stems and a timeline under one number."""

from datetime import datetime

from comfy_api.latest import io

from ..dualdub_core.errors import InputError
from ..dualdub_core.handoff.handoff import HandOff, hand_off
from ..dualdub_core.media.broadcast import BroadcastInfo
from ..dualdub_core.provenance.credentials import Signing
from ..dualdub_core.scripts.measured import measure_lines
from ..dualdub_core.scripts.plan import plan_script
from ..dualdub_core.scripts.script import Script
from ..dualdub_core.types import Audio
from . import adapters as a
from . import folders, origin, scripts


class Handoff(io.ComfyNode):
    """Stems and video to files for an editor."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_Handoff",
            display_name="Hand-off (DualDub)",
            category="audio/dualdub",
            description="Everything an editor needs under one number: the video with each stem as a track of its own, "
            "the stems as 24-bit WAV files that know their place in time (BWF), and an OpenTimelineIO file.",
            search_aliases=["export", "multitrack", "bwf", "broadcast wave", "otio", "timeline", "nle", "stems", "daw"],
            inputs=[
                io.String.Input(
                    "filename_prefix", default="dualdub/handoff", tooltip="Where in the output folder, and the name."
                ),
                io.Combo.Input(
                    "container",
                    options=["mkv", "mp4", "mov"],
                    tooltip="Kind of the video file. All hold several tracks; mkv holds any pictures.",
                ),
                io.Float.Input(
                    "timeline_start",
                    default=0.0,
                    min=0.0,
                    max=86_399.0,
                    step=0.001,
                    tooltip="Seconds since midnight that are stamped into the files; 3600 is 01:00:00:00.",
                ),
                io.Video.Input("video", optional=True, tooltip="The clip; its pictures are copied."),
                io.Audio.Input("speech", optional=True, tooltip="From Mix Stems or a decoder."),
                io.Audio.Input("background", optional=True, tooltip="From Mix Stems or a decoder."),
                io.Audio.Input("mix", optional=True, tooltip="From Mix Stems; the video's first track."),
                scripts.ScriptSocket.Input(
                    "script", optional=True, tooltip="What is spoken; lines become markers where they are heard."
                ),
                origin.CredentialsSocket.Input(
                    "credentials",
                    optional=True,
                    tooltip="From Content Credentials: stems and mp4 or mov are signed. Not for mkv.",
                ),
            ],
            outputs=[
                io.Video.Output(
                    "VIDEO", is_output_list=True, tooltip="The files with all tracks; empty without video."
                ),
                io.String.Output("report", tooltip="What was written."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        filename_prefix: str,
        container: str,
        timeline_start: float,
        video: object = None,
        script: Script | None = None,
        credentials: Signing | None = None,
        **stems: dict | None,
    ) -> io.NodeOutput:
        """Write the files of each take."""
        origin.check(credentials, ".wav", *([] if video is None else [f".{container}"]))
        whole = origin.of_file(cls, **stems)
        facts = {"metadata": a.metadata_of(cls), "suffix": f".{container}", "progress": a.comfy_progress()}
        if video is not None:
            clip = a.to_clip(video)
            facts |= {"source": clip.source, "start": clip.start, "duration": clip.duration}
        info = BroadcastInfo(description="", made=datetime.now(), start=timeline_start)
        first, _ = folders.output_path(filename_prefix, "")
        takes = _takes({name: a.to_audio(stem, name) for name, stem in stems.items() if stem is not None})
        videos, said = [], []
        for number, sounds in enumerate(takes, start=1):
            base = first.with_name(first.name.rstrip("_") + (f"_take{number}" if len(takes) > 1 else ""))
            record = origin.of_take(whole, number, len(takes))
            lines = _lines(script, sounds.get("speech"))
            result = hand_off(base, sounds, info, lines=lines, made_by=record, **facts)
            videos += [a.from_clip(path) for path in result.files if path.suffix == facts["suffix"]]
            said.append(_said(result) + origin.sign_all(result.files, credentials, record))
        text = "\n".join(said)
        return io.NodeOutput(videos, text, ui=a.said(cls, text))


def _takes(stems: dict[str, Audio]) -> list[dict[str, Audio]]:
    """The stems of each take of a batch."""
    counts = {len(stem.waveform) for stem in stems.values()}
    if len(counts) != 1:
        raise InputError(f"hand-off: got {sorted(counts) or 'no'} takes in the stems, expected equally many in each")
    rows = [a.takes(stem) for stem in stems.values()]
    return [dict(zip(stems, row, strict=True)) for row in zip(*rows, strict=True)]


def _lines(script: Script | None, speech: Audio | None) -> Script | None:
    """Lines where they are heard, or else where they are planned."""
    if script is None or speech is None:
        return script
    plan = plan_script(script, speech.duration)
    measured = measure_lines(speech, plan)
    return measured.script() if measured.is_heard else plan.script()


def _said(result: HandOff) -> str:
    names = "\n".join(path.name for path in result.files)
    if result.timeline is None:
        names += "\nno timeline: pip install opentimelineio for one"
    if result.video is not None:
        names += f"\npictures {'copied' if result.video.copied else 'encoded again'}"
    return names
