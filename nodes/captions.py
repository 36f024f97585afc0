"""A node that measures when lines are heard and keeps their times as captions."""

from pathlib import Path

from comfy_api.latest import io

from ..dualdub_core.files import replacing
from ..dualdub_core.scripts.measured import Measured, measure_lines
from ..dualdub_core.scripts.plan import plan_script
from ..dualdub_core.scripts.script import Script, stamp
from . import adapters as a
from . import folders, scripts

FORMATS = {"srt + vtt + json": ("srt", "vtt", "json"), "srt": ("srt",), "vtt": ("vtt",), "json": ("json",), "none": ()}

LINES, WORDS = "lines", "words"


class Captions(io.ComfyNode):
    """A script and its speech to measured captions."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_Captions",
            display_name="Captions (DualDub)",
            category=scripts.CATEGORY,
            description="Measures when each line is heard in the speech stem and saves it as SRT, WebVTT and JSON. "
            "Times of single words are estimated if you ask for them, and marked as estimates.",
            search_aliases=[
                "srt out",
                "save subtitles",
                "vtt",
                "line times",
                "word times",
                "karaoke",
                "cue error",
                "timing report",
            ],
            inputs=[
                scripts.ScriptSocket.Input("script", tooltip="The script that was spoken."),
                io.Audio.Input("speech", tooltip="The speech stem alone, from a decoder."),
                io.String.Input(
                    "filename_prefix", default="dualdub/captions", tooltip="Where in the output folder, and the name."
                ),
                io.Combo.Input("save", options=list(FORMATS), tooltip="Which files are written."),
                io.Combo.Input(
                    "words",
                    options=[LINES, WORDS],
                    optional=True,
                    tooltip="Times of lines; or of words too: a cue each in SRT, time tags (karaoke) in VTT, a list "
                    "in JSON. Of words they are estimated from the line's sound.",
                ),
            ],
            outputs=[
                io.String.Output("srt", is_output_list=True, tooltip="SubRip, one for each take; empty in silence."),
                io.String.Output("vtt", is_output_list=True, tooltip="WebVTT, one for each take; empty in silence."),
                io.String.Output("json", is_output_list=True, tooltip="Line times, slots and errors, for each take."),
                io.String.Output("report", tooltip="How far from its cue each line starts."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, script: Script, speech: dict, filename_prefix: str, save: str, words: str = LINES
    ) -> io.NodeOutput:
        """Measure and write."""
        stems = a.takes(a.to_audio(speech, "captions"))
        plans = [plan_script(script, stem.duration) for stem in stems]
        measured = [measure_lines(*both, words=words == WORDS) for both in zip(stems, plans, strict=True)]
        texts = [{"srt": "", "vtt": ""} | take.captions() for take in measured]
        first, _ = folders.output_path(filename_prefix, "")
        for take, content in enumerate(texts, start=1):
            name = f"{first.name}{f'take{take}' if len(texts) > 1 else 'lines'}"
            for kind in FORMATS[save]:
                if content[kind]:
                    _write(first.with_name(f"{name}.{kind}"), content[kind])
        report = "\n".join(_report(take) for take in measured)
        columns = [[content[kind] for content in texts] for kind in ("srt", "vtt", "json")]
        return io.NodeOutput(*columns, report, ui=a.said(cls, report))


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _report(measured: Measured) -> str:
    rows = []
    for line in measured.lines:
        at = "not heard" if line.start is None else f"heard at {stamp(line.start, hours=False)}"
        error = "" if line.start_error is None else f", {1000 * line.start_error:+.0f} ms from its cue"
        rows.append(f"{line.planned.number} {at}{error}: {line.planned.text}")
    return "\n".join(rows)
