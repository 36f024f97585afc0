"""One run of a model: the prefix and what is known in one pass, then a step a frame in fixed memory.

Letters: P rows of conditions, R rows that run, S stream inputs, V codebook size.
"""

import torch
from torch import Tensor

from ..models.dualdub import Conditions, DualDub
from .state import Shape, State
from .step import advance
from .weights import StepWeights


class Engine:
    """A run of `takes` rows for each of the conditions' rows, which share its prefix: it is read once."""

    @torch.inference_mode()
    def __init__(
        self,
        model: DualDub,
        conditions: Conditions,
        num_frames: int,
        *,
        takes: int = 1,
        state: State | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            model: in evaluation mode.
            conditions: P rows; the video has `num_frames` frames.
            num_frames: of the clip.
            takes: rows that run for each row of conditions.
            state: memory to use again, of at least the shape that `shape_of` tells; new when None.
        """
        device = conditions.text_ids.device
        self.model = model
        self.weights = StepWeights.of(model, device)
        self.state = State(model, shape_of(conditions, num_frames, takes), device) if state is None else state
        self._conditions = conditions
        self._video = model.watch(conditions)
        self._num_prefix = 1 + conditions.text_ids.shape[1]
        self.state.start(conditions, self._video, self._num_prefix)

    @torch.inference_mode()
    def prefill(self, inputs: Tensor) -> Tensor:
        """The prefix and the first frames in one pass.

        Args:
            inputs: stream inputs (P, 2, S), BOS first, then the codes known beforehand.

        Returns:
            logits of frame S - 1, (R, 2, V + 1).
        """
        state = self.state
        fused = self.model.fuse(inputs, self._video, self._conditions.present, state.fused)
        sequence = self.model.begin(self._conditions, fused)
        hidden = self.model.llama(sequence.x, sequence.positions, mask=sequence.mask, cache=state.past)
        if state.shape.is_padded:
            state.past.hide(state.padding)
        logits = self.model.predict(hidden[:, -1:])[:, :, 0]
        state.logits.view(len(logits), -1, *logits.shape[1:]).copy_(logits[:, None])
        return state.logits.clone()

    @torch.inference_mode()
    def step(self, codes: Tensor) -> Tensor:
        """One frame more: the codes (R, 2) just written to the logits (R, 2, V + 1) of the next."""
        advance(self.weights, self.state, codes, self.state.span())
        self.stepped()
        return self.state.logits.clone()

    def stepped(self, steps: int = 1) -> None:
        """Count steps that were run elsewhere, by a captured graph say."""
        self.state.past.length += steps
        self.state.fused.length += steps

    @torch.inference_mode()
    def rewind(self, frame: int) -> None:
        """Forget all that was read from the codes of frame - 1 on: the next step reads those, or BOS before frame 0."""
        self.state.fused.rewind(frame)
        self.state.past.rewind(self._num_prefix + frame)


def shape_of(conditions: Conditions, num_frames: int, takes: int = 1) -> Shape:
    """What a run needs."""
    num_rows, num_text = conditions.text_ids.shape
    return Shape(
        rows=num_rows * takes,
        num_frames=num_frames,
        length=1 + num_text + num_frames,
        is_padded=conditions.is_padded,
    )
