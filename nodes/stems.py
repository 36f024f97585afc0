"""Nodes that mix the stems and keep them as files."""

from dataclasses import asdict

from comfy_api.latest import io, ui

from ..dualdub_core.media.sound import write_wav
from ..dualdub_core.mixing.mixing import MixConfig, mix
from ..dualdub_core.provenance.credentials import Signing
from . import adapters as a
from . import folders, origin

CATEGORY = "audio/dualdub"


def _number(name: str, default: float, low: float, high: float, step: float, tooltip: str, **more: bool) -> io.Input:
    return io.Float.Input(name, default=default, min=low, max=high, step=step, tooltip=tooltip, **more)


class MixStems(io.ComfyNode):
    """Two stems to a finished soundtrack."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_MixStems",
            display_name="Mix Stems (DualDub)",
            category=CATEGORY,
            description="Levels, ducking, loudness and a limiter. The stems come out as they lie in the "
            "mix: added together they are the mix, sample by sample.",
            search_aliases=["mix audio", "ducking", "loudness", "lufs", "limiter", "normalize", "balance"],
            inputs=[
                io.Audio.Input("speech", tooltip="The speech stem."),
                io.Audio.Input(
                    "background",
                    tooltip="The background stem, or any recording; cut or continued to the speech's length.",
                ),
                _number("speech_gain", 0.0, -60.0, 24.0, 0.1, "Level of the speech in dB."),
                _number("background_gain", 0.0, -60.0, 24.0, 0.1, "Level of the background in dB."),
                _number("ducking", 0.0, 0.0, 60.0, 0.5, "dB by which the background yields while someone speaks."),
                _number("attack", 50.0, 1.0, 10_000.0, 1.0, "Milliseconds to yield in.", advanced=True),
                _number("release", 250.0, 1.0, 10_000.0, 1.0, "Milliseconds to come back in.", advanced=True),
                io.Boolean.Input(
                    "normalize",
                    default=False,
                    tooltip="Bring the mix to the loudness below; both stems alike.",
                ),
                _number("loudness", -23.0, -70.0, 0.0, 0.5, "LUFS. -23 broadcast, -16 podcasts, -14 the web."),
                _number("ceiling", -1.0, -60.0, 0.0, 0.1, "dBTP that the mix never exceeds.", advanced=True),
            ],
            outputs=[
                io.Audio.Output("mix", tooltip="Speech and background together."),
                io.Audio.Output("speech", tooltip="The speech as it lies in the mix."),
                io.Audio.Output("background", tooltip="The background as it lies in the mix."),
                io.String.Output("report", tooltip="Loudness, true peak and what the limiter did."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, speech: dict, background: dict, normalize: bool, loudness: float, **levels: float
    ) -> io.NodeOutput:
        """Mix."""
        config = MixConfig(
            speech_gain_db=levels["speech_gain"],
            background_gain_db=levels["background_gain"],
            ducking_db=levels["ducking"],
            duck_attack_ms=levels["attack"],
            duck_release_ms=levels["release"],
            target_lufs=loudness if normalize else None,
            ceiling_db=levels["ceiling"],
        )
        mixed = mix(a.to_soundtrack(speech, background), config)
        text = a.mix_text(mixed)
        a.said(cls, text)
        record = origin.mixed(speech, background, **asdict(config))
        stems = [origin.tell(a.from_audio(stem), record) for stem in (mixed.mix, mixed.speech, mixed.background)]
        return io.NodeOutput(*stems, text, ui=ui.PreviewAudio(stems[0], cls=cls))


class SaveStems(io.ComfyNode):
    """Stems to sound files for an editor."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_SaveStems",
            display_name="Save Stems (DualDub)",
            category=CATEGORY,
            description="Saves stems as WAV files of 24 bits with one number, such as "
            "soundtrack_00001_speech.wav, to be laid into an editor. What is not connected is not saved.",
            search_aliases=["save wav", "export stems", "24 bit", "daw", "save audio"],
            inputs=[
                io.String.Input(
                    "filename_prefix",
                    default="dualdub/soundtrack",
                    tooltip="Where in the output folder, and the name.",
                ),
                io.Audio.Input("mix", optional=True, tooltip="From Mix Stems."),
                io.Audio.Input("speech", optional=True, tooltip="From Mix Stems or a decoder."),
                io.Audio.Input("background", optional=True, tooltip="From Mix Stems or a decoder."),
                origin.CredentialsSocket.Input(
                    "credentials", optional=True, tooltip="From Content Credentials: the files are signed."
                ),
            ],
            outputs=[io.String.Output("report", tooltip="What was written.")],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, filename_prefix: str, credentials: Signing | None = None, **stems: dict | None) -> io.NodeOutput:
        """Write a file for each stem and take."""
        origin.check(credentials, ".wav")
        record = origin.of_file(cls, **stems)
        files = folders.stem_files(
            filename_prefix,
            {name: a.to_audio(stem, name) for name, stem in stems.items() if stem is not None},
        )
        for path, audio in files:
            write_wav(path, audio, made_by=record)
        text = "\n".join(path.name for path, _ in files)
        text += origin.sign_all([path for path, _ in files], credentials, record)
        return io.NodeOutput(text, ui=a.said(cls, text))
