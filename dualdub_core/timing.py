"""Every conversion between seconds, samples, frames and latents: the only arithmetic on clocks.

Letters: N samples, T frames of a stream, F video frames.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from .errors import ConfigError, InputError
from .limits import within

VIDEO_FEATURE_RATE = Fraction(25, 3)
"""Hz. One picture every three frames of a 25 fps video (paper, section 3.2), whatever the video's own rate."""


LONGEST = 6 * 3600.0
"""Seconds. What lasts longer is a damaged or hostile header, which must not decide how much memory is taken."""


def check_seconds(duration: float, what: str = "duration") -> float:
    """Refuse a duration that is no number of seconds from above 0 to `LONGEST`."""
    if not within(duration, 0) or duration == 0:
        raise InputError(f"{what}: got {duration} s, expected a positive number; is the clip empty?")
    if duration > LONGEST:
        raise InputError(f"{what}: got {duration:g} s, expected at most {LONGEST:g} s; work on it in parts")
    return duration


def num_samples(duration: float, sample_rate: int) -> int:
    """Samples of a stem that lasts exactly `duration` seconds, at least one."""
    return max(1, round(check_seconds(duration) * sample_rate))


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameClock:
    """Frames that each cover `hop_length` samples at `sample_rate` Hz."""

    sample_rate: int
    hop_length: int

    def __post_init__(self) -> None:
        if not (within(self.sample_rate, 1, whole=True) and within(self.hop_length, 1, whole=True)):
            raise ConfigError(f"clock: {self.sample_rate=} and {self.hop_length=} must be positive whole numbers")

    @property
    def frame_rate(self) -> float:
        """Frames per second, Hz."""
        return self.sample_rate / self.hop_length

    def num_frames(self, duration: float) -> int:
        """The fewest frames that cover `duration` seconds.

        It goes through whole samples, so a recording of this duration encodes to as many frames.
        """
        return self.num_frames_of_samples(num_samples(duration, self.sample_rate))

    def num_frames_of_samples(self, samples: int) -> int:
        """The fewest frames that cover `samples` samples at this clock's rate."""
        return -(-samples // self.hop_length)

    def duration(self, num_frames: int) -> float:
        """Seconds that `num_frames` frames last."""
        return num_frames * self.hop_length / self.sample_rate

    def frame_at(self, seconds: float) -> int:
        """The frame boundary nearest to a time; where a range given in seconds starts or ends."""
        return round(seconds * self.sample_rate / self.hop_length)

    def centres(self, num_frames: int) -> Tensor:
        """Times of the frames' centres in seconds, float64 (T,)."""
        return (torch.arange(num_frames, dtype=torch.float64) + 0.5) * (self.hop_length / self.sample_rate)


def nearest_frames(source: FrameClock, target: FrameClock, *, num_source: int, num_target: int) -> Tensor:
    """For each target frame the source frame that covers its centre, int64 (num_target,).

    A map at fixed rates: unlike an interpolation by size it does not drift when the last frames of the two
    clocks overhang by different amounts (section 5.2 says nearest neighbour).
    """
    index = (target.centres(num_target) * source.frame_rate).floor().long()
    return index.clamp_(max=num_source - 1)


def overlapping_frames(
    source: FrameClock, target: FrameClock, *, num_source: int, num_target: int
) -> tuple[Tensor, Tensor]:
    """Source frames that each target frame overlaps, ascending, and the share of it that each covers.

    Returns:
        index (num_target, K) int64, within the source; weight (num_target, K) float64, 0 in unused slots.
    """
    source_span, target_span = _spans(source, target)
    start = torch.arange(num_target)[:, None] * target_span
    index = start // source_span + torch.arange(num_overlapping(source, target))
    end_of_overlap = torch.minimum((index + 1) * source_span, start + target_span)
    covered = (end_of_overlap - torch.maximum(index * source_span, start)).clamp(min=0)
    weight = covered.double() / target_span * (index < num_source)
    return index.clamp(max=num_source - 1), weight


def num_overlapping(source: FrameClock, target: FrameClock) -> int:
    """The most source frames that one target frame can overlap."""
    source_span, target_span = _spans(source, target)
    latest_start = source_span - math.gcd(source_span, target_span)  # within a source frame
    return -(-(latest_start + target_span) // source_span)


def _spans(source: FrameClock, target: FrameClock) -> tuple[int, int]:
    """Lengths of one frame of each clock in a common unit, so that overlaps are exact."""
    return source.hop_length * target.sample_rate, target.hop_length * source.sample_rate


def nearest_times(times: Tensor, wanted: Tensor) -> Tensor:
    """Index of the entry of the ascending `times` (F,) nearest to each of `wanted` (T,); int64 (T,)."""
    if times.numel() == 1:
        return torch.zeros(wanted.numel(), dtype=torch.int64)
    after = torch.searchsorted(times, wanted).clamp_(1, times.numel() - 1)
    before = after - 1
    return torch.where(wanted - times[before] <= times[after] - wanted, before, after)


def video_feature_times(duration: float) -> Tensor:
    """Seconds at which a video of `duration` seconds is looked at, float64 (F,), at least one."""
    check_seconds(duration, "video")
    count = max(1, -int(-(Fraction(duration).limit_denominator(10**6) * VIDEO_FEATURE_RATE) // 1))
    return torch.arange(count, dtype=torch.float64) / float(VIDEO_FEATURE_RATE)
