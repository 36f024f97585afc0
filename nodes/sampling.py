"""Nodes that write the codes of both streams, and keep them."""

from comfy_api.latest import io

from ..dualdub_core.artifacts import load_codes, save_codes
from ..dualdub_core.pipeline import Lock, sample_codes
from ..dualdub_core.sampling import SamplingConfig, Seeds, StreamSampling
from ..dualdub_core.types import Codes, Task, VideoFeatures, Voice
from . import adapters as a
from . import folders, live, origin

CATEGORY = "audio/dualdub"
TAKES = f"{CATEGORY}/takes"
TASKS = {"speech + background": Task.JOINT, "background only": Task.BACKGROUND, "speech only": Task.SPEECH}
SEED_MAX = 0xFFFFFFFFFFFFFFFF


def _stream_inputs(stream: str) -> list[io.Input]:
    return [
        io.Float.Input(
            f"{stream}_temperature",
            default=0.8,
            min=0.0,
            max=10.0,
            step=0.01,
            tooltip=f"How daring the {stream} is: 0 always takes the likeliest sound, 1 the model's own variety.",
        ),
        io.Int.Input(
            f"{stream}_top_k",
            default=50,
            min=0,
            max=65_536,
            tooltip=f"Choose each sound of the {stream} among so many likeliest ones; 0 means all.",
        ),
        io.Float.Input(
            f"{stream}_top_p",
            default=1.0,
            min=0.01,
            max=1.0,
            step=0.01,
            advanced=True,
            tooltip=f"And for the {stream} among those that together hold this share of the probability.",
        ),
    ]


def seed_input(stream: str, tooltip: str) -> io.Int.Input:
    """The widget of a stream's seed."""
    return io.Int.Input(f"{stream}_seed", default=0, min=0, max=SEED_MAX, control_after_generate=True, tooltip=tooltip)


class SamplingSettings(io.ComfyNode):
    """Temperatures and guidance."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_SamplingSettings",
            display_name="Sampling Settings (DualDub)",
            category=CATEGORY,
            description="How freely each stream is written. Without this node the sampler uses what the model prefers.",
            search_aliases=["temperature", "top k", "top p", "guidance", "cfg"],
            inputs=[
                *_stream_inputs("speech"),
                *_stream_inputs("background"),
                io.Float.Input(
                    "cfg",
                    default=1.0,
                    min=0.0,
                    max=20.0,
                    step=0.1,
                    tooltip="How hard video, script and voice are held to. 1 is off; more takes twice the time.",
                ),
            ],
            outputs=[a.SamplingSocket.Output("sampling", tooltip="For the sampler.")],
        )

    @classmethod
    def execute(cls, cfg: float, **values: float) -> io.NodeOutput:
        """Check and pack the settings."""
        streams = {
            stream: StreamSampling(**{k: values[f"{stream}_{k}"] for k in ("temperature", "top_k", "top_p")})
            for stream in ("speech", "background")
        }
        return io.NodeOutput(SamplingConfig(**streams, cfg_scale=cfg))


class Sampler(io.ComfyNode):
    """Conditions to the codes of both streams."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_Sampler",
            display_name="Dual-Stream Sampler (DualDub)",
            category=CATEGORY,
            description="Writes speech and background together, step by step, each hearing the other. "
            "Locks hold a stream, or a part of it, to what it was. The result is decoded by Flow-Matching "
            "or Codec Decode.",
            search_aliases=["generate audio", "video to audio", "v2a", "dub", "foley", "tts", "dualdub"],
            inputs=[
                a.Model.Input("model", tooltip="From Load DualDub."),
                io.Combo.Input(
                    "task",
                    options=list(TASKS),
                    tooltip="What is written. Background only needs no script; speech only needs no video.",
                ),
                *(
                    seed_input(s, f"Of the {s} alone. Fix one seed and change the other to re-roll one stream.")
                    for s in ("speech", "background")
                ),
                io.Int.Input(
                    "takes",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="Takes in one run; take n uses the seeds plus n.",
                ),
                io.Float.Input(
                    "duration",
                    default=0.0,
                    min=0.0,
                    max=3600.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Seconds, for speech only. 0 lets the speech end on its own. A video brings its own.",
                ),
                a.Features.Input("features", optional=True, tooltip="From Encode Video; they set the duration."),
                io.String.Input(
                    "script",
                    optional=True,
                    force_input=True,
                    tooltip="What is said: from Script or any text node. Background only does not read it.",
                ),
                a.VoiceSocket.Input("voice", optional=True, tooltip="Who speaks; without it the model chooses."),
                a.SamplingSocket.Input("sampling", optional=True, tooltip="From Sampling Settings."),
                a.LockSocket.Input("locks", optional=True, tooltip="From Lock Stream or Retake Range."),
                a.Codec.Input(
                    "codec",
                    optional=True,
                    tooltip="For the live preview, where the model's own checkpoint has no codec: the one of its "
                    "codes.",
                ),
                live.preview_input(),
            ],
            outputs=[
                a.CodesSocket.Output("codes", tooltip="Both streams, for the decoders, Retake Range, Save Codes.")
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: a.Managed,
        task: str,
        speech_seed: int,
        background_seed: int,
        takes: int,
        duration: float,
        features: VideoFeatures | None = None,
        script: str = "",
        voice: Voice | None = None,
        sampling: SamplingConfig | None = None,
        locks: tuple[Lock, ...] = (),
        codec: a.Managed | None = None,
        live_preview: bool = True,
    ) -> io.NodeOutput:
        """Run the language model."""
        listened = live.codec_of(model, codec, wanted=live_preview)
        network, *drafting = a.on_device(model=model, **({} if listened is None else {"codec": listened}))
        sampling, progress = sampling or model.preferred_sampling, a.comfy_progress()
        seconds = duration or None if features is None or TASKS[task] is Task.SPEECH else features.duration
        codes = sample_codes(
            network,
            model.tokenizer,
            task=TASKS[task],
            features=features,
            script=script,
            voice=voice,
            duration=duration or None,
            sampling=sampling,
            seeds=Seeds(speech=speech_seed, background=background_seed),
            locks=locks,
            batch_size=takes,
            progress=progress,
            watch=live.previews(cls, drafting[0], TASKS[task].streams, seconds, progress) if drafting else None,
        )
        told = "" if TASKS[task] is Task.BACKGROUND else script
        codes = origin.sampled(
            codes,
            model,
            task=TASKS[task],
            seeds={"speech": speech_seed, "background": background_seed},
            script=script,
            voices=[] if voice is None else [voice],
            locks=locks,
            sampling=sampling,
        )
        return io.NodeOutput(codes, ui=a.said(cls, a.codes_text(codes) + model.warning_about(told)))


class SelectTake(io.ComfyNode):
    """One take of several."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_SelectTake",
            display_name="Select Take (DualDub)",
            category=TAKES,
            description="Goes on with one take of a run that wrote several.",
            search_aliases=["pick take", "choose batch", "batch index"],
            inputs=[
                a.CodesSocket.Input("codes", tooltip="From the sampler."),
                io.Int.Input("take", default=1, min=1, max=64, tooltip="Counted from 1."),
            ],
            outputs=[a.CodesSocket.Output("codes", tooltip="That take alone.")],
        )

    @classmethod
    def execute(cls, codes: Codes, take: int) -> io.NodeOutput:
        """Keep one row."""
        return io.NodeOutput(codes.take(take - 1))


class SaveCodes(io.ComfyNode):
    """Codes to a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_SaveCodes",
            display_name="Save Codes (DualDub)",
            category=TAKES,
            description="Keeps a take, to decode it again or to retake a part of it another day. A few kilobytes.",
            search_aliases=["save take", "keep tokens", "export codes"],
            inputs=[
                a.CodesSocket.Input("codes", tooltip="The take to keep."),
                io.String.Input(
                    "filename_prefix",
                    default="dualdub/take",
                    tooltip="Where in the output folder. Load Codes lists the folder dualdub.",
                ),
            ],
            outputs=[a.CodesSocket.Output("codes", tooltip="The same codes.")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, codes: Codes, filename_prefix: str) -> io.NodeOutput:
        """Write the file."""
        path, _ = folders.output_path(filename_prefix, ".codes.safetensors")
        save_codes(path, codes)
        return io.NodeOutput(codes, ui=a.said(cls, f"saved as {path.name}"))


class LoadCodes(io.ComfyNode):
    """A file to codes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_LoadCodes",
            display_name="Load Codes (DualDub)",
            category=TAKES,
            description="A take kept by Save Codes.",
            search_aliases=["load take", "import codes", "tokens"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=folders.codes_names(),
                    tooltip="Of output/dualdub or the input folder; R refreshes the list.",
                )
            ],
            outputs=[a.CodesSocket.Output("codes", tooltip="For the decoders and Retake Range.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, file: str | None) -> bool | str:
        """Files saved since the list was made count too."""
        return folders.check_input(file)

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        """Runs again when the file changes."""
        return folders.fingerprint(folders.input_path(file))

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        """Read the file."""
        codes = load_codes(folders.input_path(file))
        return io.NodeOutput(codes, ui=a.said(cls, a.codes_text(codes)))
