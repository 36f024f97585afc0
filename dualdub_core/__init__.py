"""DualDub without ComfyUI: speech and background sound for a video, generated together.

In reading order: load the parts, look at the video, hear the voice, generate, write.
"""

from .artifacts import load_codes, load_voice, save_codes, save_voice
from .errors import CheckpointError, ConfigError, DualDubError, InputError
from .handoff.handoff import hand_off
from .media.muxing import mux
from .media.sound import probe, read_audio, write_wav
from .media.video import encode_frames, frames_from_images, read_frames
from .mixing.delivery import DELIVERIES, delivered
from .mixing.mixing import MixConfig, Mixed, mix
from .mixing.placing import Placement
from .mixing.report import mix_report
from .pipeline import Lock, decode_codec, decode_flow, encode_stem, retake_locks, sample_codes
from .sampling import SamplingConfig, Seeds, StreamSampling
from .scripts.formats import parse_script, read_script
from .scripts.measured import measure_lines
from .scripts.plan import Plan, plan_script
from .scripts.script import Script, ScriptLine
from .scripts.scripted import sample_script
from .sheet.sheet import TakeSheet, draw_sheet
from .system import BUILTIN, System, Take, generate, load_system
from .types import Audio, Codes, Soundtrack, Stream, Task, VideoFeatures, VideoFrames, Voice
from .voice import blend_voices, encode_voice

__all__ = [
    "BUILTIN",
    "DELIVERIES",
    "Audio",
    "CheckpointError",
    "Codes",
    "ConfigError",
    "DualDubError",
    "InputError",
    "Lock",
    "MixConfig",
    "Mixed",
    "Placement",
    "Plan",
    "SamplingConfig",
    "Script",
    "ScriptLine",
    "Seeds",
    "Soundtrack",
    "Stream",
    "StreamSampling",
    "System",
    "Take",
    "TakeSheet",
    "Task",
    "VideoFeatures",
    "VideoFrames",
    "Voice",
    "blend_voices",
    "decode_codec",
    "decode_flow",
    "delivered",
    "draw_sheet",
    "encode_frames",
    "encode_stem",
    "encode_voice",
    "frames_from_images",
    "generate",
    "hand_off",
    "load_codes",
    "load_system",
    "load_voice",
    "measure_lines",
    "mix",
    "mix_report",
    "mux",
    "parse_script",
    "plan_script",
    "probe",
    "read_audio",
    "read_frames",
    "read_script",
    "retake_locks",
    "sample_codes",
    "sample_script",
    "save_codes",
    "save_voice",
    "write_wav",
]
