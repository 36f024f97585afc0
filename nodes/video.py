"""Nodes that bring pictures and recordings in, and the finished video out."""

from comfy_api.latest import io, ui

from ..dualdub_core.media.muxing import mux
from ..dualdub_core.media.sound import read_audio
from ..dualdub_core.provenance.credentials import Signing
from ..dualdub_core.provenance.stamps import video_tags
from . import adapters as a
from . import folders, origin

CATEGORY = "audio/dualdub"
START = "Seconds into the file where the clip starts."
LENGTH = "Seconds of the clip. 0 takes everything up to the end."


def _seconds(name: str, tooltip: str) -> io.Float.Input:
    return io.Float.Input(name, default=0.0, min=0.0, max=86_400.0, step=0.01, tooltip=tooltip)


class LoadVideo(io.ComfyNode):
    """A video file to VIDEO, without decoding it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_LoadVideo",
            display_name="Load Video (DualDub)",
            category=CATEGORY,
            description="Loads a video and says how long and how large it is. Pictures are decoded later, "
            "on the fly, so long videos need little memory. The list holds ComfyUI's input folder and an "
            "example clip.",
            search_aliases=["import video", "open video", "silent video", "video info", "fps", "duration"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=folders.media_names("video"),
                    upload=io.UploadType.video,
                    tooltip="A video in ComfyUI's input folder, or the pack's example.",
                ),
                _seconds("start", START),
                _seconds("duration", LENGTH),
            ],
            outputs=[
                io.Video.Output("VIDEO", tooltip="The clip."),
                io.Float.Output("duration", tooltip="Seconds of the clip."),
                io.Float.Output("fps", tooltip="Average pictures per second."),
                io.Int.Output("width", tooltip="Pixels."),
                io.Int.Output("height", tooltip="Pixels."),
                io.Int.Output("num_frames", tooltip="Pictures in the clip."),
                io.String.Output("info", tooltip="All of this in one line."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, file: str | None) -> bool | str:
        """Uploaded files are not in the list yet."""
        return folders.check_input(file)

    @classmethod
    def fingerprint_inputs(cls, file: str, start: float, duration: float) -> str:  # noqa: ARG003
        """Runs again when the file changes."""
        return folders.fingerprint(folders.input_path(file))

    @classmethod
    def execute(cls, file: str, start: float, duration: float) -> io.NodeOutput:
        """Probe the file."""
        path = folders.input_path(file)
        info, seconds, text = a.clip_info(path, start, duration)
        video = a.from_clip(path, start, duration)
        numbers = (seconds, float(info.fps), info.width, info.height, round(seconds * info.fps))
        return io.NodeOutput(video, *numbers, text, ui=a.said(cls, text))


class LoadAudio(io.ComfyNode):
    """A recording to AUDIO."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_LoadAudio",
            display_name="Load Audio Sample (DualDub)",
            category=CATEGORY,
            description="Loads a recording, or the sound of a video: a reference voice, or a stem to lock. "
            "The list holds ComfyUI's input folder, an example voice and an example background.",
            search_aliases=["import audio", "open wav", "voice sample", "reference audio", "trim audio"],
            inputs=[
                io.Combo.Input(
                    "audio",
                    options=folders.media_names("audio", "video"),
                    tooltip="A sound file or video in ComfyUI's input folder, or one of the pack's examples.",
                ),
                _seconds("start", START),
                _seconds("duration", LENGTH),
            ],
            outputs=[
                io.Audio.Output("AUDIO", tooltip="The recording at its own sample rate."),
                io.Float.Output("duration", tooltip="Seconds of the recording."),
            ],
        )

    @classmethod
    def validate_inputs(cls, audio: str | None) -> bool | str:
        """Uploaded files are not in the list yet."""
        return folders.check_input(audio)

    @classmethod
    def fingerprint_inputs(cls, audio: str, start: float, duration: float) -> str:  # noqa: ARG003
        """Runs again when the file changes."""
        return folders.fingerprint(folders.input_path(audio))

    @classmethod
    def execute(cls, audio: str, start: float, duration: float) -> io.NodeOutput:
        """Read the file."""
        sound = read_audio(folders.input_path(audio), start=start, duration=duration or None)
        return io.NodeOutput(a.from_audio(sound), sound.duration)


class EncodeVideo(io.ComfyNode):
    """Pictures to video features."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_EncodeVideo",
            display_name="Encode Video (DualDub)",
            category=CATEGORY,
            description="Lets the model look at the video, about eight pictures a second at any frame "
            "rate. Connect either a VIDEO or IMAGE frames with their fps.",
            search_aliases=["clip features", "video features", "watch video", "encode frames"],
            inputs=[
                a.VideoEncoder.Input("video_encoder", tooltip="From Load DualDub or Load CLIP."),
                io.Video.Input("video", optional=True, tooltip="The silent clip; frame rates and trims are honoured."),
                io.Image.Input("images", optional=True, tooltip="Frames instead of a VIDEO, such as from VHS nodes."),
                io.Float.Input(
                    "fps",
                    default=25.0,
                    min=0.1,
                    max=1000.0,
                    step=0.001,
                    tooltip="Frame rate of the images. A VIDEO brings its own and ignores this.",
                ),
            ],
            outputs=[
                a.Features.Output("features", tooltip="What was seen; they also carry the clip's duration."),
                io.Float.Output("duration", tooltip="Seconds of the clip."),
            ],
        )

    @classmethod
    def execute(
        cls, video_encoder: a.Managed, fps: float, video: object = None, images: object = None
    ) -> io.NodeOutput:
        """Decode and encode."""
        (encoder,) = a.on_device(video_encoder=video_encoder)
        features = a.to_features(encoder, video, images, fps)
        return io.NodeOutput(features, features.duration)


class SoundtrackToVideo(io.ComfyNode):
    """Pictures and sound to a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_SoundtrackToVideo",
            display_name="Soundtrack to Video (DualDub)",
            category=CATEGORY,
            description="Saves the video with this sound. The pictures are copied as they are, without "
            "loss; only a clip that is trimmed between key frames must be encoded again. A batch of sounds "
            "gives a file each.",
            search_aliases=["save video", "mux", "remux", "combine video audio", "export video", "add sound"],
            inputs=[
                io.Video.Input("video", tooltip="The clip the sound was made for; its own sound is replaced."),
                io.Audio.Input("audio", tooltip="The soundtrack, such as the mix."),
                io.String.Input(
                    "filename_prefix",
                    default="dualdub/soundtrack",
                    tooltip="Where in the output folder; %date:yyyy-MM-dd% and the like work as in Save Video.",
                ),
                io.Combo.Input(
                    "container",
                    options=["auto", "mp4", "mov", "mkv", "webm"],
                    advanced=True,
                    tooltip="Kind of file. Auto keeps the source's.",
                ),
                origin.CredentialsSocket.Input(
                    "credentials",
                    optional=True,
                    tooltip="From Content Credentials: the file is signed. Not for mkv and webm.",
                ),
            ],
            outputs=[
                io.Video.Output("VIDEO", is_output_list=True, tooltip="The saved file."),
                io.String.Output("report", tooltip="What was written, and whether the pictures were copied."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, video: object, audio: dict, filename_prefix: str, container: str, credentials: Signing | None = None
    ) -> io.NodeOutput:
        """Write one file for each sound of the batch."""
        clip = a.to_clip(video)
        suffix, whole = a.container_suffix(clip, container), origin.of_file(cls, mix=audio)
        origin.check(credentials, suffix)
        facts = {"start": clip.start, "duration": clip.duration, "progress": a.comfy_progress()}
        shown, reports, videos = [], [], []
        sounds = a.takes(a.to_audio(audio, "soundtrack to video"))
        for number, sound in enumerate(sounds, start=1):
            path, result = folders.output_path(filename_prefix, suffix)
            record = origin.of_take(whole, number, len(sounds))
            report = mux(clip.source, sound, path, metadata=a.metadata_of(cls) | video_tags(record, suffix), **facts)
            told = origin.sign_all([path], credentials, record)
            reports.append(f"{path.name}: pictures {'copied' if report.copied else 'encoded again'}{told}")
            shown.append(result)
            videos.append(a.from_clip(path))
        text = "\n".join(reports)
        a.said(cls, text)
        return io.NodeOutput(videos, text, ui=ui.PreviewVideo(shown))
