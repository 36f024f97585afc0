"""What a corpus is made of, as one frozen value; the same value and clip index always give the same clip."""

import zlib
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

import numpy as np

from dualdub_core.errors import ConfigError
from dualdub_core.timing import VIDEO_FEATURE_RATE
from dualdub_core.types import Task


class Kind(str, Enum):
    """What a clip holds."""

    V2A = "v2a"
    """Pictures and background."""
    TTS = "tts"
    """Speech only."""
    JOINT = "joint"
    """Pictures with a talking face, background and speech."""
    WORDS = "words"
    """Speech only, one or two words: cheap clips by which a model finds out which sound belongs to which word."""

    @property
    def task(self) -> Task:
        """The task such a clip teaches (paper, section 3.4)."""
        return {Kind.V2A: Task.BACKGROUND, Kind.TTS: Task.SPEECH, Kind.JOINT: Task.JOINT, Kind.WORDS: Task.SPEECH}[self]

    @property
    def has_pictures(self) -> bool:
        """Whether there is a video."""
        return self in (Kind.V2A, Kind.JOINT)

    @property
    def has_speech(self) -> bool:
        """Whether somebody speaks."""
        return self is not Kind.V2A


class Split(str, Enum):
    """Who may read a clip: nothing trains on TEST, and VALIDATION only stops and compares runs."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusConfig:
    """A corpus.

    Attributes:
        seed: of everything random.
        sample_rate: of the stems, Hz.
        fps: pictures per second of the video.
        frame_size: height and width of the square pictures.
        durations: seconds a clip with pictures may last; few and on every clock's grid, so that batches of
            equal length exist and no frame overhangs.
        speech_grid: samples; a speech-only clip is padded to a multiple (one frame of the codec).
        pause_probability: of a joint clip having two phrases with a silence between them.
        unseen_voice_probability: of a test clip being spoken by a held-out voice.
        unseen_pair_probability: of a test phrase being made of held-out word pairs only.
        rain_probability: of a clip with an object also having rain.
        empty_probability: of a video-to-audio clip having rain and no object.
        silent_face_probability: of a video-to-audio clip showing a face that says nothing.
        distractor_probability: of something moving without a sound.
        level_db: lowest and highest level, shared by both stems of a clip.
    """

    seed: int
    sample_rate: int
    fps: int
    frame_size: int
    durations: tuple[float, ...]
    speech_grid: int
    pause_probability: float
    unseen_voice_probability: float
    unseen_pair_probability: float
    rain_probability: float
    empty_probability: float
    silent_face_probability: float
    distractor_probability: float
    level_db: tuple[float, ...]

    def __post_init__(self) -> None:
        if Fraction(self.fps) % VIDEO_FEATURE_RATE:
            raise ConfigError(
                f"corpus: fps is {self.fps}, expected a multiple of the feature rate {VIDEO_FEATURE_RATE} Hz"
            )
        for duration in self.durations:
            frames = Fraction(duration).limit_denominator(1000) * VIDEO_FEATURE_RATE
            if frames.denominator != 1 or frames <= 0:
                raise ConfigError(
                    f"corpus: {duration} s is not a whole number of video features; use multiples of 0.12 s"
                )
        if len(self.level_db) != 2 or self.level_db[0] > self.level_db[1]:
            raise ConfigError(f"corpus: level_db is {self.level_db}, expected (lowest, highest)")

    @property
    def frames_per_feature(self) -> int:
        """Pictures from one that the video encoder looks at to the next."""
        return int(self.fps / VIDEO_FEATURE_RATE)

    @classmethod
    def mini(cls, seed: int = 0) -> "CorpusConfig":
        """The corpus of the shipped mini model: 24 kHz mono, 64 x 64 at 25 fps, up to 4.8 s."""
        return cls(
            seed=seed,
            sample_rate=24_000,
            fps=25,
            frame_size=64,
            durations=(2.4, 3.0, 3.6, 4.2, 4.8),
            speech_grid=600,
            pause_probability=0.25,
            unseen_voice_probability=0.25,
            unseen_pair_probability=0.4,
            rain_probability=0.2,
            empty_probability=0.1,
            silent_face_probability=0.3,
            distractor_probability=0.3,
            level_db=(-6.0, 0.0),
        )


def generator_of_clip(seed: int, kind: Kind, split: Split, index: int) -> np.random.Generator:
    """The one source of randomness of a clip; it depends on nothing but its arguments."""
    stream = zlib.crc32(f"{kind.value}/{split.value}".encode())
    return np.random.default_rng(np.random.SeedSequence([seed, stream, index]))
