"""Codes from a model: what is known in one pass, then frame by frame, in chunks between which a caller may cancel.

It knows the model's parts, not what text, voice or video mean. Letters: B rows, P rows that differ, T frames.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from .engine.draw import FREE, Draw, DrawShape, draw
from .engine.engine import Engine, shape_of
from .engine.graph import VERIFIED, Kept, borrow, capture, give_back, is_capturable
from .engine.state import State
from .engine.step import advance
from .engine.weights import StepWeights
from .models.dualdub import Conditions, DualDub
from .progress import Progress, silent
from .sampling import NOISE_BLOCK, CodeSampler

__all__ = ["CHUNK", "FREE", "Engine", "Generated", "Watch", "generate_codes"]

CHUNK = 8
"""Frames between two looks at progress and Cancel; on a CPU fewer where a model is so large that they take long."""

_CHUNK_BYTES = 4e9  # of weights, which a CPU reads in a few tenths of a second
_GRAIN = 64  # frames and columns up to which a graph's memory is rounded, so that clips of about one length share it

Watch = Callable[[Tensor, int], None]
"""Told at the borders of chunks: the codes as they stand, background and speech (B, 2, T), and how many frames are
finished. The tensor is the run's own, on the model's device, not a copy: what lies after those frames means nothing
yet, and whoever keeps it copies it."""


@dataclass(frozen=True, slots=True)
class Generated:
    """What a run wrote.

    Attributes:
        codes: background, speech (B, 2, T); rows that ended by EOS hold zeros after it.
        num_frames: frames of each row (B,).
    """

    codes: Tensor
    num_frames: tuple[int, ...]


@torch.inference_mode()
def generate_codes(
    model: DualDub,
    conditions: Conditions,
    sampler: CodeSampler,
    *,
    num_frames: int,
    forced: Tensor | None = None,
    cfg_scale: float = 1.0,
    until_eos: bool = False,
    progress: Progress = silent,
    watch: Watch | None = None,
) -> Generated:
    """Sample both streams frame by frame.

    Takes of one clip, rows that are one row expanded, read their prefix once.

    Args:
        model: in evaluation mode.
        conditions: of B takes; the video has `num_frames` frames.
        sampler: for B rows and the streams background, speech.
        num_frames: T; with `until_eos` the most that are written.
        forced: codes to hold a stream to (B, 2, T), `FREE` where it is sampled.
        cfg_scale: guidance against empty conditions, 1.0 = off (and costs nothing).
        until_eos: let the speech head end a row; otherwise exactly T frames run and EOS is forbidden.
        progress: called at the start and after each chunk of frames; raising from it cancels.
        watch: called after each chunk, before `progress`.
    """
    progress("generate", 0, num_frames)
    num_rows, device = conditions.text_ids.shape[0], conditions.text_ids.device
    # A retake late in the clip costs one pass for what is kept, not a step a frame.
    first = 0 if forced is None else min(_num_known(forced, conditions.present), num_frames - 1)
    known = conditions.text_ids.new_zeros(num_rows, 2, first + 1)  # the last is not read
    if forced is not None:
        known[..., :first] = forced[..., :first].clamp(min=0)
    is_shared = conditions.is_one_clip and bool((known == known[:1]).all())
    if is_shared:
        conditions, known = conditions.first(), known[:1]
    is_guided = cfg_scale != 1.0
    if is_guided:
        conditions, known = _with_empty(conditions), torch.cat((known, known))
    drawing = DrawShape(
        takes=num_rows,
        num_frames=num_frames,
        candidates=sampler.num_candidates,
        eos=model.config.eos,
        is_guided=is_guided,
        until_eos=until_eos,
        is_locked=forced is not None,
        uses_top_p=sampler.knobs.uses_top_p,
    )
    takes = num_rows if is_shared else 1
    with _memory(model, conditions, drawing, takes, device) as kept:
        engine = Engine(model, conditions, num_frames, takes=takes, state=kept.state)
        engine.prefill(model.shifted(known))
        kept.draw.start(sampler, forced, num_frames, cfg_scale)
        if forced is not None:
            kept.draw.codes[..., :first] = forced[..., :first].clamp(min=0)
        kept.draw.seek(first, sampler)
        written = kept.draw.codes[..., :num_frames]

        def tell(done: int) -> None:
            if watch is not None:
                watch(written, done)
            progress("generate", done, num_frames)

        _run(engine, kept, sampler, first, num_frames, tell)
        return Generated(codes=written.clone(), num_frames=tuple(kept.draw.lengths.tolist()))


@contextmanager
def _memory(
    model: DualDub, conditions: Conditions, drawing: DrawShape, takes: int, device: torch.device
) -> Iterator[Kept]:
    """Fixed memory for a run: of exactly its size, or with a graph that of an earlier run of about that size."""
    shape = shape_of(conditions, drawing.num_frames, takes)
    if not is_capturable(model, device):
        yield Kept(State(model, shape, device), Draw(drawing, device))
        return
    shape = shape.rounded(_GRAIN)
    kept = borrow(model, shape, drawing.rounded(shape.num_frames), device)
    yield kept
    # Not after an error: then nobody knows what the device still does with it.
    give_back(model, kept)


def _run(
    engine: Engine, kept: Kept, sampler: CodeSampler, first: int, num_frames: int, tell: Callable[[int], None]
) -> None:
    """All frames from `first` on."""
    state, drawing = kept.state, kept.draw
    replay = _captured(engine, kept, sampler, first, num_frames) if kept.is_capturable else None
    borders = _Borders(tell, drawing, num_frames)
    chunk = _chunk(engine.weights, drawing.frame.device)
    for frame in range(first, num_frames):
        if frame % NOISE_BLOCK == 0 and frame > first:
            drawing.listen(frame, sampler)
        if frame + 1 == num_frames:
            draw(drawing, state.logits)
        elif replay is not None:
            replay()
            engine.stepped()
        else:
            advance(engine.weights, state, draw(drawing, state.logits), state.span())
            engine.stepped()
        is_border = (frame + 1 - first) % chunk == 0 or frame + 1 == num_frames
        if borders.reached(frame + 1, is_border=is_border):
            break
    borders.finish()


def _captured(
    engine: Engine, kept: Kept, sampler: CodeSampler, first: int, num_frames: int
) -> Callable[[], None] | None:
    """What replays a frame; captured at the first run of a shape that is long enough to be worth it."""
    state, drawing, frames = kept.state, kept.draw, num_frames - first - 1
    if kept.replay is not None or kept.has_failed or frames < 2 * VERIFIED:
        return kept.replay
    start, lengths = state.logits.clone(), drawing.lengths.clone()

    def frame() -> None:
        advance(engine.weights, state, draw(drawing, state.logits), state.shape.length)

    def rewind() -> None:
        engine.rewind(first + 1)
        state.logits.copy_(start)
        drawing.lengths.copy_(lengths)
        drawing.seek(first, sampler)

    kept.replay = capture(frame, state.logits, rewind, VERIFIED)
    kept.has_failed = kept.replay is None
    return kept.replay


def _chunk(weights: StepWeights, device: torch.device) -> int:
    if device.type != "cpu":
        return CHUNK
    return max(1, min(CHUNK, int(_CHUNK_BYTES / max(1, weights.nbytes))))


class _Borders:
    """Tells of finished chunks; on a GPU one behind those that are enqueued, so that it never runs dry."""

    def __init__(self, tell: Callable[[int], None], drawing: Draw, num_frames: int) -> None:
        self._tell, self._drawing, self._num_frames = tell, drawing, num_frames
        self._is_async = drawing.frame.device.type == "cuda"
        self._until_eos = drawing.shape.until_eos
        self._waiting: deque[tuple[int, torch.cuda.Event, Tensor]] = deque()

    def reached(self, done: int, *, is_border: bool) -> bool:
        """That many frames are enqueued; returns whether all rows have ended."""
        if not self._is_async:
            ended = self._until_eos and self._num_left(self._drawing.lengths, done) == 0
            if ended or is_border:
                self._tell(self._num_frames if ended else done)
            return ended
        if is_border:
            lengths = self._drawing.lengths
            if self._until_eos:  # pinned, so that the copy waits for the device and not the host
                lengths = torch.empty_like(lengths, device="cpu", pin_memory=True).copy_(lengths, non_blocking=True)
            event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            event.record()
            self._waiting.append((done, event, lengths))
            if len(self._waiting) > 1:
                return self._finished()
        return False

    def finish(self) -> None:
        """Wait for what is enqueued."""
        while self._waiting:
            if self._finished():
                self._waiting.clear()

    def _finished(self) -> bool:
        done, event, lengths = self._waiting.popleft()
        event.synchronize()
        ended = self._until_eos and self._num_left(lengths, done) == 0
        self._tell(self._num_frames if ended else done)
        return ended

    def _num_left(self, lengths: Tensor, done: int) -> int:
        return int((lengths >= done).sum())


def _num_known(forced: Tensor, present: Tensor) -> int:
    """How many frames from the start no row has to sample; an absent stream is always known."""
    known = (forced != FREE) | (present == 0)[..., None]  # (B, 2, T)
    return int(known.all(0).all(0).int().cumprod(0).sum())


def _with_empty(conditions: Conditions) -> Conditions:
    """The conditions, and under them as many rows of nothing: no speaker, no words, a black video."""
    num_text = conditions.text_ids.shape[1]
    last = conditions.text_ids.gather(1, conditions.text_lengths[:, None] - 1)  # end of text
    return Conditions(
        speaker=torch.cat((conditions.speaker, torch.zeros_like(conditions.speaker))),
        text_ids=torch.cat((conditions.text_ids, last.expand(-1, num_text))),
        text_lengths=torch.cat((conditions.text_lengths, torch.ones_like(conditions.text_lengths))),
        video=torch.cat((conditions.video, torch.zeros_like(conditions.video))),
        present=conditions.present.repeat(2, 1),
        is_padded=conditions.is_padded or num_text > 1,
    )
