"""The decode engine: prefill, then one step a frame, with caches, locked codes and cancellation.

It knows the model's parts, not what text, voice or video mean. Letters: B batch, T frames, V codebook size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .flow import guide
from .models.dualdub import STREAMS, Conditions, DualDub
from .progress import Progress, silent
from .sampling import CodeSampler

FREE = -1
"""In forced codes: this frame is sampled."""


class Engine:
    """One run of a model: everything that steps share is computed or allocated once, at the start."""

    def __init__(self, model: DualDub, conditions: Conditions, num_frames: int) -> None:
        """Prepare a run of `num_frames` frames; `conditions.video` has that many (T)."""
        self.model = model
        self._conditions = conditions
        batch_size, num_text = conditions.text_ids.shape
        self._video = model.watch(conditions)
        self._aligner_cache = model.aligner.new_cache(batch_size, num_frames)
        self._cache = model.llama.new_cache(batch_size, 1 + num_text + num_frames)
        self._padding = num_text - conditions.text_lengths if conditions.is_padded else None
        self._columns = torch.arange(1 + num_text + num_frames, device=conditions.text_ids.device)

    def prefill(self, inputs: Tensor) -> Tensor:
        """The prefix and the first frames in one pass.

        Args:
            inputs: stream inputs (B, 2, S), BOS first, then the codes known beforehand.

        Returns:
            logits of frame S - 1, (B, 2, V + 1).
        """
        fused = self.model.fuse(inputs, self._video, self._conditions.present, self._aligner_cache)
        sequence = self.model.begin(self._conditions, fused)
        hidden = self.model.llama(sequence.x, sequence.positions, mask=sequence.mask, cache=self._cache)
        return self.model.predict(hidden[:, -1:])[:, :, 0]

    def step(self, codes: Tensor) -> Tensor:
        """One frame more: the codes (B, 2) just written to the logits (B, 2, V + 1) of the next."""
        fused = self.model.fuse(codes[..., None], self._video, self._conditions.present, self._aligner_cache)
        column = self._cache.length
        positions, mask = self._columns[column : column + 1], None
        if self._padding is not None:
            positions = positions - self._padding[:, None]
            mask = (self._columns[: column + 1] >= self._padding[:, None])[:, None, None]
        hidden = self.model.llama(fused, positions, mask=mask, cache=self._cache)
        return self.model.predict(hidden)[:, :, 0]


@dataclass(frozen=True, slots=True)
class Generated:
    """What a run wrote.

    Attributes:
        codes: background, speech (B, 2, T); rows that ended by EOS hold zeros after it.
        num_frames: frames of each row (B,).
    """

    codes: Tensor
    num_frames: tuple[int, ...]


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
) -> Generated:
    """Sample both streams frame by frame.

    Args:
        model: in evaluation mode.
        conditions: of B takes; the video has `num_frames` frames.
        sampler: for B rows and the streams background, speech.
        num_frames: T; with `until_eos` the most that are written.
        forced: codes to hold a stream to (B, 2, T), `FREE` where it is sampled.
        cfg_scale: guidance against empty conditions, 1.0 = off (and costs nothing).
        until_eos: let the speech head end a row; otherwise exactly T frames run and EOS is forbidden.
        progress: called at the start and after each frame; raising from it cancels.
    """
    num_rows, device = conditions.text_ids.shape[0], conditions.text_ids.device
    guided = cfg_scale != 1.0
    progress("generate", 0, num_frames)
    engine = Engine(model, _with_empty(conditions) if guided else conditions, num_frames)
    if forced is None:
        forced = torch.full((num_rows, len(STREAMS), num_frames), FREE, device=device)
    codes = torch.zeros_like(forced)
    # A retake late in the clip costs one pass for what is kept, not a step a frame.
    first = min(_num_known(forced, conditions.present), num_frames - 1)
    codes[..., :first] = forced[..., :first].clamp(min=0)
    logits = engine.prefill(_doubled(model.shifted(codes[..., : first + 1]), guided))
    lengths = torch.full((num_rows,), num_frames, device=device)
    for frame in range(first, num_frames):
        if guided:
            logits, empty = logits.float().chunk(2)
            logits = guide(logits, empty, cfg_scale)
        if not until_eos:
            logits[..., model.config.eos] = -torch.inf
        else:
            logits[:, 0, model.config.eos] = -torch.inf  # only speech ends a row
        written = sampler(logits, frame)
        written = torch.where(forced[..., frame] == FREE, written, forced[..., frame])
        if until_eos:
            ended = written[:, 1] == model.config.eos
            lengths = torch.where(ended & (lengths == num_frames), frame, lengths)
            written = written.masked_fill((lengths <= frame)[:, None], 0)
            if bool((lengths <= frame).all()):
                progress("generate", num_frames, num_frames)
                break
        codes[..., frame] = written
        progress("generate", frame + 1, num_frames)
        if frame + 1 < num_frames:
            logits = engine.step(_doubled(written, guided))
    return Generated(codes=codes, num_frames=tuple(lengths.tolist()))


def _doubled(x: Tensor, guided: bool) -> Tensor:
    return torch.cat((x, x)) if guided else x


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
