"""The node for people who mix: delivery presets, ducking by known speech, balance, pans and fades, in stereo."""

import json
from dataclasses import asdict

from comfy_api.latest import io, ui

from ..dualdub_core.mixing.delivery import DELIVERIES, DRIVE_DB, delivered
from ..dualdub_core.mixing.ducking import Spans
from ..dualdub_core.mixing.mixing import MixConfig, mix
from ..dualdub_core.mixing.placing import Placement
from ..dualdub_core.mixing.report import mix_report, report_text
from ..dualdub_core.scripts.measured import measure_lines
from ..dualdub_core.scripts.plan import plan_script
from ..dualdub_core.scripts.script import Script
from ..dualdub_core.types import Audio, Codes, Stream
from . import adapters as a
from . import origin, scripts

AS_MIXED, CUSTOM = "as mixed", "custom"
LABELS = {delivery.label: name for name, delivery in DELIVERIES.items()}


def _number(name: str, default: float, low: float, high: float, step: float, tooltip: str, **more: bool) -> io.Input:
    return io.Float.Input(name, default=default, min=low, max=high, step=step, tooltip=tooltip, **more)


def _of_stem(stem: str) -> list[io.Input]:
    return [
        _number(f"{stem}_gain", 0.0, -60.0, 24.0, 0.1, f"Level of the {stem} in dB."),
        _number(f"{stem}_pan", 0.0, -1.0, 1.0, 0.01, f"-1 puts the {stem} left, 1 right, by constant power."),
        _number(f"{stem}_fade_in", 0.0, 0.0, 600.0, 0.01, f"Seconds in which the {stem} comes up.", advanced=True),
        _number(f"{stem}_fade_out", 0.0, 0.0, 600.0, 0.01, f"Seconds in which the {stem} goes out.", advanced=True),
    ]


class MasterStems(io.ComfyNode):
    """Two stems to a soundtrack that can be delivered."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_MasterStems",
            display_name="Master Stems (DualDub)",
            category="audio/dualdub",
            description="Mixes for delivery: loudness and true peak by named presets, ducking by the known times of "
            "speech, balance of speech and background in LU, pan and fades. Added together the stems are the mix.",
            search_aliases=["mastering", "ebu r128", "lufs", "true peak", "ducking", "sidechain", "pan", "fade", "mix"],
            inputs=[
                io.Audio.Input("speech", tooltip="The speech stem."),
                io.Audio.Input(
                    "background",
                    tooltip="The background stem, or any recording; cut or continued to the speech's length.",
                ),
                io.Combo.Input(
                    "delivery",
                    options=[*LABELS, AS_MIXED, CUSTOM],
                    tooltip="Loudness and true peak of the mix. As mixed only keeps the ceiling below.",
                ),
                _number("loudness", -23.0, -70.0, 0.0, 0.1, "LUFS of the mix, for delivery custom."),
                _number("ceiling", -1.0, -60.0, 0.0, 0.1, "dBTP never exceeded, for as mixed and custom."),
                _number("ducking", 6.0, 0.0, 60.0, 0.5, "dB by which the background yields while someone speaks."),
                _number("attack", 50.0, 1.0, 10_000.0, 1.0, "Milliseconds to yield in, before the speech."),
                _number("hold", 200.0, 0.0, 10_000.0, 1.0, "Milliseconds to stay down after the speech."),
                _number("release", 400.0, 1.0, 10_000.0, 1.0, "Milliseconds to come back in."),
                io.Boolean.Input(
                    "balance",
                    default=False,
                    tooltip="Set the background's level by speech_over_bed instead of by ear.",
                ),
                _number(
                    "speech_over_bed", 12.0, -20.0, 40.0, 0.5, "LU of speech over the background while someone speaks."
                ),
                *_of_stem(Stream.SPEECH.value),
                *_of_stem(Stream.BACKGROUND.value),
                io.Boolean.Input("stereo", default=True, tooltip="Two channels come out, even of mono stems."),
                _number(
                    "drive",
                    DRIVE_DB,
                    0.0,
                    24.0,
                    0.5,
                    "dB into the limiter at most, to reach a loudness.",
                    advanced=True,
                ),
                a.CodesSocket.Input(
                    "codes", optional=True, tooltip="The codes of these stems: they know when somebody may speak."
                ),
                scripts.ScriptSocket.Input(
                    "script", optional=True, tooltip="The script that was spoken; its lines are measured in the speech."
                ),
            ],
            outputs=[
                io.Audio.Output("mix", tooltip="Speech and background together."),
                io.Audio.Output("speech", tooltip="The speech as it lies in the mix."),
                io.Audio.Output("background", tooltip="The background as it lies in the mix."),
                io.String.Output("report", tooltip="Loudness, peak, range, balance, gains, and what was not reached."),
                io.String.Output("measured", tooltip="The same as JSON; several takes give a list."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        speech: dict,
        background: dict,
        delivery: str,
        codes: Codes | None = None,
        script: Script | None = None,
        **settings: float,
    ) -> io.NodeOutput:
        """Mix."""
        stems, config = a.to_soundtrack(speech, background), _config(delivery, **settings)
        mixed = mix(stems, config, spoken=_spoken(stems.speech, codes, script))
        reports = mix_report(mixed, config)
        text = "\n".join(report_text(report) for report in reports)
        a.said(cls, text)
        record = origin.mixed(speech, background, **asdict(config))
        sounds = [origin.tell(a.from_audio(sound), record) for sound in (mixed.mix, mixed.speech, mixed.background)]
        data = json.dumps(reports[0] if len(reports) == 1 else reports, indent=1)
        return io.NodeOutput(*sounds, text, data, ui=ui.PreviewAudio(sounds[0], cls=cls))


def _config(delivery: str, **settings: float) -> MixConfig:
    places = {
        stream.value: Placement(
            pan=settings[f"{stream.value}_pan"],
            fade_in=settings[f"{stream.value}_fade_in"],
            fade_out=settings[f"{stream.value}_fade_out"],
        )
        for stream in Stream
    }
    config = MixConfig(
        speech_gain_db=settings["speech_gain"],
        background_gain_db=settings["background_gain"],
        ducking_db=settings["ducking"],
        duck_attack_ms=settings["attack"],
        duck_hold_ms=settings["hold"],
        duck_release_ms=settings["release"],
        speech_over_bed=settings["speech_over_bed"] if settings["balance"] else None,
        target_lufs=settings["loudness"] if delivery == CUSTOM else None,
        ceiling_db=settings["ceiling"],
        drive_db=settings["drive"],
        stereo=bool(settings["stereo"]),
        **places,
    )
    return delivered(config, LABELS[delivery], drive_db=settings["drive"]) if delivery in LABELS else config


def _spoken(speech: Audio, codes: Codes | None, script: Script | None) -> list[Spans | None] | None:
    """When somebody speaks in each take: the script's lines as heard, else what the codes know."""
    if script is None:
        return None if codes is None else [codes.spoken]
    measured = [measure_lines(take, plan_script(script, take.duration)) for take in a.takes(speech)]
    return [
        [(line.start, line.end) for line in take.lines if line.start is not None and line.end is not None]
        for take in measured
    ]
