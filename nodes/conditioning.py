"""Nodes for what is said and who says it, and for what must stay as it is."""

from comfy_api.latest import io

from ..dualdub_core.artifacts import load_voice, save_voice
from ..dualdub_core.pipeline import Lock, encode_stem, retake_locks
from ..dualdub_core.text import normalise
from ..dualdub_core.types import Codes, Stream, VideoFeatures, Voice
from ..dualdub_core.voice import blend_voices, encode_voice
from . import adapters as a
from . import folders

CATEGORY = "audio/dualdub"
VOICE_CATEGORY = f"{CATEGORY}/voice"
STREAMS = {
    "speech + background": (Stream.SPEECH, Stream.BACKGROUND),
    "speech": (Stream.SPEECH,),
    "background": (Stream.BACKGROUND,),
}


def _seconds(name: str, tooltip: str, *, default: float = 0.0) -> io.Float.Input:
    return io.Float.Input(name, default=default, min=0.0, max=86_400.0, step=0.01, tooltip=tooltip)


class Script(io.ComfyNode):
    """Text to script."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_Script",
            display_name="Script (DualDub)",
            category=CATEGORY,
            description="What is said in the clip. White space and unusual Unicode forms are tidied.",
            search_aliases=["text", "prompt", "transcript", "dialogue", "lines", "subtitle"],
            inputs=[
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=False,
                    default="",
                    placeholder="What is said, word for word",
                    tooltip="The spoken words. Any text node can be connected to the sampler instead.",
                )
            ],
            outputs=[io.String.Output("script", tooltip="The tidied text.")],
        )

    @classmethod
    def execute(cls, text: str) -> io.NodeOutput:
        """Tidy the text."""
        return io.NodeOutput(normalise(text))


class EncodeVoice(io.ComfyNode):
    """A recording to a voice."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_Voice",
            display_name="Voice (DualDub)",
            category=VOICE_CATEGORY,
            description="Listens to a recording of one person and keeps who it is. Three to ten seconds "
            "are best; of a longer recording the middle ten seconds are heard.",
            search_aliases=["voice clone", "speaker embedding", "reference voice", "timbre"],
            inputs=[
                a.Model.Input("model", tooltip="The model that will speak; voices belong to their model."),
                io.Audio.Input("audio", tooltip="One person speaking, without music."),
                io.String.Input("name", default="", tooltip="A name to keep it under; may stay empty."),
                io.String.Input(
                    "consent",
                    optional=True,
                    default="",
                    multiline=True,
                    dynamic_prompts=False,
                    placeholder="Who agreed to the use of this voice, for what, and when",
                    tooltip="Who agreed to the use of this voice, for what, and when. Kept with the voice and in every "
                    "file that is made with it.",
                ),
            ],
            outputs=[a.VoiceSocket.Output("voice", tooltip="Who speaks.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model: a.Managed, audio: dict, name: str, consent: str = "") -> io.NodeOutput:
        """Encode the recording."""
        (network,) = a.on_device(model=model)
        voice = encode_voice(network, a.to_audio(audio, "voice"), name=name, consent=consent)
        said = f"consent: {voice.consent}" if voice.consent else "no consent is written down; fill it in if you have it"
        return io.NodeOutput(voice, ui=a.said(cls, said))


class SaveVoice(io.ComfyNode):
    """A voice to a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_SaveVoice",
            display_name="Save Voice (DualDub)",
            category=VOICE_CATEGORY,
            description="Keeps a voice in models/dualdub/voices, to be used again without its recording.",
            search_aliases=["voice preset", "export voice", "keep speaker"],
            inputs=[
                a.VoiceSocket.Input("voice", tooltip="The voice to keep."),
                io.String.Input("name", default="voice", tooltip="File name without ending."),
                io.Boolean.Input(
                    "overwrite",
                    default=False,
                    tooltip="Replace an older voice of this name. Off: this one gets a number.",
                ),
            ],
            outputs=[a.VoiceSocket.Output("voice", tooltip="The same voice.")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, voice: Voice, name: str, overwrite: bool) -> io.NodeOutput:
        """Write the file."""
        path = folders.new_voice_path(name, overwrite=overwrite)
        save_voice(path, voice)
        return io.NodeOutput(voice, ui=a.said(cls, f"saved as {path.name}"))


class LoadVoice(io.ComfyNode):
    """A file to a voice."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_LoadVoice",
            display_name="Load Voice (DualDub)",
            category=VOICE_CATEGORY,
            description="A voice kept by Save Voice. It must be of the model that speaks.",
            search_aliases=["voice preset", "import voice", "speaker"],
            inputs=[
                io.Combo.Input(
                    "voice",
                    options=folders.voice_names(),
                    tooltip="A file of models/dualdub/voices; R refreshes the list.",
                )
            ],
            outputs=[a.VoiceSocket.Output("voice", tooltip="Who speaks.")],
        )

    @classmethod
    def fingerprint_inputs(cls, voice: str) -> str:
        """Runs again when the file changes."""
        return folders.fingerprint(folders.voice_path(voice))

    @classmethod
    def execute(cls, voice: str) -> io.NodeOutput:
        """Read the file."""
        return io.NodeOutput(load_voice(folders.voice_path(voice)))


class BlendVoices(io.ComfyNode):
    """Two voices to one between them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_BlendVoices",
            display_name="Blend Voices (DualDub)",
            category=VOICE_CATEGORY,
            description="A voice between two. Chain the node to blend more.",
            search_aliases=["mix voices", "interpolate speakers", "average voice"],
            inputs=[
                a.VoiceSocket.Input("voice_a", tooltip="The voice at blend 0."),
                a.VoiceSocket.Input("voice_b", tooltip="The voice at blend 1."),
                io.Float.Input(
                    "blend",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="0 is the first voice, 1 the second.",
                ),
            ],
            outputs=[a.VoiceSocket.Output("voice", tooltip="The voice between.")],
        )

    @classmethod
    def execute(cls, voice_a: Voice, voice_b: Voice, blend: float) -> io.NodeOutput:
        """Weigh the embeddings."""
        return io.NodeOutput(blend_voices([voice_a, voice_b], [1.0 - blend, blend]))


class LockStream(io.ComfyNode):
    """A recording to codes that one stream is held to."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_LockStream",
            display_name="Lock Stream (DualDub)",
            category=CATEGORY,
            description="Holds one stream to a recording, so that only the other is written, to fit it: a "
            "new voice over an existing background, or a new background for an actor's own words.",
            search_aliases=[
                "keep dialogue",
                "keep background",
                "inpaint audio",
                "force stream",
                "replace voice",
            ],
            inputs=[
                a.Codec.Input("codec", tooltip="The codec of the model that will write the other stream."),
                io.Audio.Input("audio", tooltip="The recording; only this stream's sound, not a mix."),
                io.Combo.Input(
                    "stream",
                    options=["background", "speech"],
                    tooltip="Which stream is held to the recording.",
                ),
                _seconds("start", "Seconds where the lock begins."),
                _seconds("end", "Seconds where the lock ends. 0 is the end of the clip."),
                _seconds(
                    "duration",
                    "Seconds of the clip, if no features are connected. 0 takes the recording's "
                    "own length. The recording is cut or continued with silence to this.",
                ),
                a.Features.Input("features", optional=True, tooltip="Of the video: they give the clip's duration."),
                a.LockSocket.Input("locks", optional=True, tooltip="More locks, to chain this node."),
            ],
            outputs=[a.LockSocket.Output("locks", tooltip="For the sampler.")],
        )

    @classmethod
    def execute(
        cls,
        codec: a.Managed,
        audio: dict,
        stream: str,
        start: float,
        end: float,
        duration: float,
        features: VideoFeatures | None = None,
        locks: tuple[Lock, ...] = (),
    ) -> io.NodeOutput:
        """Encode the recording."""
        (network,) = a.on_device(codec=codec)
        recording = a.to_audio(audio, "lock stream")
        seconds = features.duration if features is not None else duration or recording.duration
        codes = encode_stem(network, recording, duration=seconds)
        return io.NodeOutput((*locks, Lock(Stream(stream), codes, start, end or None)))


class RetakeRange(io.ComfyNode):
    """An earlier take to locks around the part that is sampled anew."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_RetakeRange",
            display_name="Retake Range (DualDub)",
            category=CATEGORY,
            description="Keeps an earlier take except between two times, in one stream or both. Connect "
            "the result to the sampler's locks and change its seed.",
            search_aliases=["redo section", "inpaint", "regenerate part", "punch in", "fix a word"],
            inputs=[
                a.CodesSocket.Input("codes", tooltip="The earlier take, from a sampler or Load Codes."),
                _seconds("start", "Seconds where the retake begins."),
                _seconds("end", "Seconds where the retake ends.", default=1.0),
                io.Combo.Input("streams", options=list(STREAMS), tooltip="What is sampled anew in this range."),
            ],
            outputs=[a.LockSocket.Output("locks", tooltip="For the sampler.")],
        )

    @classmethod
    def execute(cls, codes: Codes, start: float, end: float, streams: str) -> io.NodeOutput:
        """Lock all but the range."""
        return io.NodeOutput(retake_locks(codes, start=start, end=end, streams=STREAMS[streams]))
