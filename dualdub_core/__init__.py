"""DualDub without ComfyUI: speech and background sound for a video, generated together.

In reading order: load the parts, look at the video, hear the voice, generate, write.
"""

from .artifacts import load_codes, load_voice, save_codes, save_voice
from .errors import CheckpointError, ConfigError, DualDubError, InputError
from .media import probe, read_audio, write_wav
from .mixing import MixConfig, Mixed, mix
from .muxing import mux
from .pipeline import Lock, decode_codec, decode_flow, encode_stem, retake_locks, sample_codes
from .sampling import SamplingConfig, Seeds, StreamSampling
from .system import BUILTIN, System, Take, generate, load_system
from .types import Audio, Codes, Soundtrack, Stream, Task, VideoFeatures, VideoFrames, Voice
from .video import encode_frames, frames_from_images, read_frames
from .voice import blend_voices, encode_voice

__all__ = [
    "BUILTIN",
    "Audio",
    "CheckpointError",
    "Codes",
    "ConfigError",
    "DualDubError",
    "InputError",
    "Lock",
    "MixConfig",
    "Mixed",
    "SamplingConfig",
    "Seeds",
    "Soundtrack",
    "Stream",
    "StreamSampling",
    "System",
    "Take",
    "Task",
    "VideoFeatures",
    "VideoFrames",
    "Voice",
    "blend_voices",
    "decode_codec",
    "decode_flow",
    "encode_frames",
    "encode_stem",
    "encode_voice",
    "frames_from_images",
    "generate",
    "load_codes",
    "load_system",
    "load_voice",
    "mix",
    "mux",
    "probe",
    "read_audio",
    "read_frames",
    "retake_locks",
    "sample_codes",
    "save_codes",
    "save_voice",
    "write_wav",
]
