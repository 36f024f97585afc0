"""AV-Align: whether sounds begin when the picture moves most, as the overlap of two lists of moments.

Reference: TempoTokens bf0b1e3 (13 Feb 2025), av_align.py: peaks of the mean optical flow against librosa's onsets.
Perfect sync scores far below 1 (a bouncing ball with a click at every hit: 0.47), as pictures also move where nothing
sounds: a figure says something only beside its controls, see `summarise`. The flow is in pixels and its floor is not
scaled, so figures compare at one picture size only.

Letters: F pictures, H W picture.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..audio import to_mono
from ..errors import InputError
from ..media.containers import Source, frames_of, name_of, opened, picture_stream
from ..types import Audio, check_finite
from .extras import optional

CONTROL_DELAY = 0.2
"""Seconds that the delayed control comes late."""

_FLOW_FLOOR = 0.1  # pixels; a peak below it is no motion
_ONSET_RATE = 22_050  # Hz, librosa's default


@dataclass(frozen=True, slots=True)
class Moments:
    """What AV-Align compares in one clip.

    Attributes:
        audio_peaks: seconds at which sounds begin, ascending.
        video_peaks: seconds at which the picture moves most, ascending.
        fps: pictures a second.
        duration: seconds.
    """

    audio_peaks: tuple[float, ...]
    video_peaks: tuple[float, ...]
    fps: float
    duration: float

    @property
    def score(self) -> float:
        """Intersection over union, 0 to 1."""
        return intersection_over_union(self.audio_peaks, self.video_peaks, self.fps)


@dataclass(frozen=True, slots=True)
class Alignment:
    """AV-Align of a set of clips beside its controls, all means over clips.

    Attributes:
        score: of the clips as they are.
        shuffled: every clip's picture with the next clip's sound; nan for a single clip.
        delayed: every sound `CONTROL_DELAY` late.
        num_clips: all.
        num_without_peaks: clips in which nothing moves and nothing sounds; they count as 0.
    """

    score: float
    shuffled: float
    delayed: float
    num_clips: int
    num_without_peaks: int


def summarise(clips: Sequence[Moments]) -> Alignment:
    """The score of a set and what it would be if sound and picture did not belong together.

    Args:
        clips: of one system, or of the ground truth, which is the third control.

    Raises:
        InputError: there are none.
    """
    if not clips:
        raise InputError("AV-Align: got no clips, expected at least one")
    others = [*clips[1:], clips[0]]
    shuffled = [
        intersection_over_union([t for t in other.audio_peaks if t <= clip.duration], clip.video_peaks, clip.fps)
        for clip, other in zip(clips, others, strict=True)
    ]
    delayed = [intersection_over_union(_late(clip), clip.video_peaks, clip.fps) for clip in clips]
    return Alignment(
        score=float(np.mean([clip.score for clip in clips])),
        shuffled=float(np.mean(shuffled)) if len(clips) > 1 else float("nan"),
        delayed=float(np.mean(delayed)),
        num_clips=len(clips),
        num_without_peaks=sum(not clip.audio_peaks and not clip.video_peaks for clip in clips),
    )


def moments(pictures: Iterable[NDArray[np.uint8]], fps: float, audio: Audio) -> Moments:
    """Where one clip moves and sounds.

    Args:
        pictures: all of them in order, each (H, W, 3) RGB; only two are held at a time.
        fps: pictures a second; where they last unequally long, the average, as the reference counts.
        audio: one item (1, C, N) at any rate.

    Raises:
        InputError: fewer than two pictures, sizes that change, or sound that is not finite.
        ConfigError: librosa or OpenCV is not installed.
    """
    if not 0 < fps < float("inf"):
        raise InputError(f"AV-Align: got {fps} pictures a second, expected a positive number")
    flow = flow_trajectory(pictures)
    return Moments(tuple(onset_times(audio)), tuple(local_maxima(flow, fps)), fps, len(flow) / fps)


def intersection_over_union(audio_peaks: Sequence[float], video_peaks: Sequence[float], fps: float) -> float:
    """Matched peaks over all peaks.

    A sound matches the first picture peak less than 1 / fps away that is not taken; both in ascending order.

    Args:
        audio_peaks: seconds.
        video_peaks: seconds.
        fps: pictures a second.

    Returns:
        0 to 1; 0 where there are no peaks at all (the reference divides by zero).
    """
    free = list(video_peaks)
    for audio_peak in audio_peaks:
        for index, video_peak in enumerate(free):
            if video_peak - 1 / fps < audio_peak < video_peak + 1 / fps:
                del free[index]
                break
    matched = len(video_peaks) - len(free)
    union = len(audio_peaks) + len(video_peaks) - matched
    return matched / union if union else 0.0


def onset_times(audio: Audio) -> list[float]:
    """Seconds at which sounds begin, by librosa's onset strength and peak picking with their defaults.

    Args:
        audio: one item (1, C, N).

    Raises:
        InputError: more than one item, or samples that are not finite.
        ConfigError: librosa is not installed.
    """
    check_finite(audio, "AV-Align")
    if audio.waveform.shape[0] != 1:
        raise InputError(f"AV-Align: got a batch of {audio.waveform.shape[0]} recordings, expected one at a time")
    librosa = optional("librosa", package="librosa", what="AV-Align")
    samples = to_mono(audio).waveform[0, 0].float().cpu().numpy()
    # librosa's resampler and not ours: the reference loads files through it.
    samples = librosa.resample(samples, orig_sr=audio.sample_rate, target_sr=_ONSET_RATE)
    strength = librosa.onset.onset_strength(y=samples, sr=_ONSET_RATE)
    frames = librosa.onset.onset_detect(onset_envelope=strength, sr=_ONSET_RATE)
    return [float(time) for time in librosa.frames_to_time(frames, sr=_ONSET_RATE)]


def flow_trajectory(pictures: Iterable[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """How much the picture moves: mean length of Farneback's optical flow from the picture before.

    Args:
        pictures: each (H, W, 3) RGB.

    Returns:
        (F,) pixels; the first value is the second's.

    Raises:
        InputError: fewer than two pictures, no RGB bytes, or sizes that change.
        ConfigError: OpenCV is not installed.
    """
    cv2 = optional("cv2", package="opencv-python-headless", what="AV-Align")
    lengths: list[float] = []
    before = None
    for picture in pictures:
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise InputError(
                f"AV-Align: got a picture of {picture.dtype} {picture.shape}, expected uint8 (height, width, 3)"
            )
        grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
        if before is not None:
            if before.shape != grey.shape:
                raise InputError(f"AV-Align: got pictures of {before.shape} and {grey.shape}, expected one size")
            flow = cv2.calcOpticalFlowFarneback(before, grey, None, 0.5, 3, 15, 3, 5, 1.2, 0)
            lengths.append(cv2.mean(cv2.magnitude(flow[..., 0], flow[..., 1]))[0])
        before = grey
    if not lengths:
        raise InputError(f"AV-Align: got {int(before is not None)} pictures, expected at least 2")
    return np.array([lengths[0], *lengths])


def local_maxima(flow: Sequence[float] | NDArray[np.float64], fps: float) -> list[float]:
    """Seconds of the values (F,) above both neighbours and at least 0.1; a plateau is none."""
    return [
        index / fps
        for index in range(1, len(flow) - 1)
        if flow[index - 1] < flow[index] > flow[index + 1] and flow[index] >= _FLOW_FLOOR
    ]


def read_pictures(source: Source) -> Iterator[NDArray[np.uint8]]:
    """Every picture of a video as it is stored, one at a time, (H, W, 3) RGB.

    Raises:
        InputError: the file is not a video.
    """
    with opened(source) as container:
        what = name_of(source)
        for frame in frames_of(container, picture_stream(container, what), what):
            yield frame.to_ndarray(format="rgb24", interpolation="BICUBIC")


def _late(clip: Moments) -> list[float]:
    late = [time + CONTROL_DELAY for time in clip.audio_peaks]
    return [time for time in late if time <= clip.duration]
