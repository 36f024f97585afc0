"""What there is of a take while it is sampled, heard and seen: drafts by the codec's decoder, now and then.

Letters: B takes, T frames of the whole clip, N samples, C channels.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from .errors import ConfigError, shortened
from .limits import within
from .long.decoding import decode_codec_long
from .models.dualdub import STREAMS
from .models.wavtokenizer import WavTokenizer
from .progress import Progress, silent
from .sheet.theme import PALETTES, Colour, Pen
from .types import Audio, Codes, Soundtrack, Stream

logger = logging.getLogger(__name__)

_WIDTH, _LANE, _HEAD = 512, 72, 20  # pixels
_QUIET = 0.05  # amplitude that fills a lane at least, so that a hum is not blown up


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewConfig:
    """How often a run may be listened to.

    Attributes:
        first: seconds of sound before the first draft.
        interval: seconds of time from one draft to the next, at least.
        share: of the run's time that all drafts but the first may take.
    """

    first: float = 1.0
    interval: float = 1.5
    share: float = 0.12

    def __post_init__(self) -> None:
        if not (within(self.first, 0) and within(self.interval, 0) and within(self.share, 0, 1)):
            raise ConfigError(f"previews: got {self}, expected seconds from 0 on and a share of 0 to 1")


@dataclass(frozen=True, slots=True)
class Draft:
    """The beginning of a take.

    Attributes:
        soundtrack: what there is, one take (1, C, N); a stream that is not sampled is silence.
        streams: those that are sampled.
        duration: seconds of the whole clip; None where speech ends on its own.
    """

    soundtrack: Soundtrack
    streams: tuple[Stream, ...]
    duration: float | None

    @property
    def seconds(self) -> float:
        """How much there is."""
        return self.soundtrack.speech.duration

    def stem(self, stream: Stream) -> Audio:
        """One of the two."""
        return self.soundtrack.speech if stream is Stream.SPEECH else self.soundtrack.background


class Previews:
    """A `generation.Watch` that shows drafts; it reads codes, changes none, and never ends a run by failing.

    A draft is shown as soon as there is enough sound, then not more often than the settings say; longer drafts take
    longer, so they come less often in long runs. Of several takes the first is shown.
    """

    def __init__(
        self,
        codec: WavTokenizer,
        show: Callable[[Draft], None],
        *,
        streams: tuple[Stream, ...],
        duration: float | None,
        config: PreviewConfig | None = None,
        progress: Progress = silent,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Prepare for one run.

        Args:
            codec: of the model's codes, in evaluation mode.
            show: told of each draft. What it raises ends the previews, not the run, if it is a `RuntimeError` (memory,
                sound libraries), an `OSError` (disk) or a `ValueError` (what does not fit); all else goes through, so
                raising another exception cancels.
            streams: that are sampled.
            duration: seconds of the clip; None where speech ends on its own.
            config: how often; the default when None.
            progress: told of each decoding as "preview"; raising from it cancels.
            clock: seconds.
        """
        self._codec, self._show, self._progress, self._clock = codec, show, progress, clock
        self._streams, self._duration, self._config = streams, duration, config or PreviewConfig()
        self._started = clock()
        self._last = -math.inf
        self._spent, self._costs = 0.0, list[tuple[int, float]]()
        self._is_over = False

    def __call__(self, codes: Tensor, done: int) -> None:
        """See `done` frames of codes (B, 2, T); decode and show them if it is time."""
        begun = self._clock()
        if self._is_over or not self._is_due(done, codes.shape[-1], begun):
            return
        try:
            draft = self._draft(codes, done)
            if draft is not None:
                self._show(draft)
        except (RuntimeError, OSError, ValueError) as error:
            self._is_over = True
            logger.warning("preview: %s; the take goes on without previews", shortened(error))
        self._last = self._clock()
        self._spent += self._last - begun
        self._costs.append((done, self._last - begun))

    def _is_due(self, done: int, total: int, now: float) -> bool:
        if not self._costs:
            return self._codec.config.clock.duration(done) >= self._config.first
        is_time = now - self._last >= self._config.interval or done == total
        return is_time and self._spent + self._expected(done) <= self._config.share * (now - self._started)

    def _expected(self, done: int) -> float:
        """Seconds that a draft of so many frames will take, by those before it."""
        if len(self._costs) == 1:
            # Part of it is the same for all drafts: between that and a cost that grows with the frames.
            frames, cost = self._costs[0]
            return cost * math.sqrt(done / frames)
        # The best so far: a machine that was busy for a moment does not end the drafts.
        return done * min(cost / frames for frames, cost in self._costs)

    def _draft(self, codes: Tensor, done: int) -> Draft | None:
        rows = {
            stream: codes[:1, index, :done].cpu() for index, stream in enumerate(STREAMS) if stream in self._streams
        }
        if self._duration is None:
            # Behind the end of speech that ended on its own there are zeros.
            done = max((int(row.nonzero()[-1, 1]) + 1 if bool(row.any()) else 0) for row in rows.values())
            if not done:
                return None
            rows = {stream: row[:, :done] for stream, row in rows.items()}
        clock = self._codec.config.clock
        whole = math.inf if self._duration is None else self._duration
        drafted = Codes(
            speech=rows.get(Stream.SPEECH),
            background=rows.get(Stream.BACKGROUND),
            duration=min(clock.duration(done), whole),
            clock=clock,
            codebook_size=self._codec.config.codebook_size,
        )
        soundtrack = decode_codec_long(self._codec, drafted, progress=self._told)
        return Draft(soundtrack, self._streams, self._duration)

    def _told(self, stage: str, done: int, total: int) -> None:  # noqa: ARG002
        self._progress("preview", done, total)


def draw_draft(draft: Draft) -> Image.Image:
    """A lane with the wave of each stream; what is still to come is empty."""
    streams = [stream for stream in (Stream.SPEECH, Stream.BACKGROUND) if stream in draft.streams]
    palette = PALETTES["dark"]
    image = Image.new("RGB", (_WIDTH, _HEAD + _LANE * len(streams)), palette.paper)
    pen, whole = Pen(image, palette), draft.duration or draft.seconds
    there = max(1, min(_WIDTH, round(_WIDTH * draft.seconds / whole)))
    heard = f"draft: {draft.seconds:.1f} s" + (f" of {draft.duration:.1f} s" if draft.duration else "")
    pen.text((6, 3), heard, size=12, colour=palette.muted)
    colours = {
        Stream.SPEECH: (palette.speech_soft, palette.speech),
        Stream.BACKGROUND: (palette.background_soft, palette.background),
    }
    for lane, stream in enumerate(streams):
        top = _HEAD + lane * _LANE
        pen.draw.rectangle((0, top, there - 1, top + _LANE - 2), fill=palette.panel)
        _draw_lane(pen.draw, draft.stem(stream), there, top, colours[stream])
        pen.text((6, top + 3), stream.value, size=12, colour=colours[stream][1])
    return image


def _draw_lane(draw: ImageDraw.ImageDraw, audio: Audio, width: int, top: int, colours: tuple[Colour, Colour]) -> None:
    samples = audio.waveform[0].mean(0).numpy()
    low, high, power = _columns(samples, width)
    full = max(_QUIET, float(np.abs(samples).max(initial=0.0)))
    middle, half = top + _LANE / 2, _LANE / 2 - 4
    for x in range(width):
        draw.line((x, middle - half * high[x] / full, x, middle - half * low[x] / full), fill=colours[0])
        draw.line((x, middle - half * power[x] / full, x, middle + half * power[x] / full), fill=colours[1])


def _columns(samples: NDArray[np.float32], width: int) -> tuple[list[float], list[float], list[float]]:
    """Least, most and root mean square of each column's samples."""
    edges = np.linspace(0, len(samples), width, endpoint=False).astype(int)
    counts = np.maximum(1, np.diff(np.append(edges, len(samples))))
    power = np.sqrt(np.add.reduceat(np.square(samples), edges) / counts)
    return np.minimum.reduceat(samples, edges).tolist(), np.maximum.reduceat(samples, edges).tolist(), power.tolist()
