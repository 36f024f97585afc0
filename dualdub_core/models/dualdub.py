"""DualDub: the multimodal language model that writes speech and background codes at once.

Source: paper, sections 3.2 to 3.4. The sequence is [speaker | text | fused frames]; the hidden state of fused
slot t predicts both codes of frame t, so the stream inputs are BOS, x_0 ... x_{T-2} (equation 5).
Letters: B batch, L text ids, T frames at the codec's rate, D width, V codebook size.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from ..audio import MelConfig
from ..engine.config import EngineConfig
from ..errors import ConfigError
from ..text import TextConfig
from ..timing import FrameClock
from ..types import Stream
from .aligner import AlignerConfig, CrossModalAligner, VideoKeys
from .llama import KVCache, Llama, LlamaConfig
from .speaker import SpeakerEncoder, SpeakerEncoderConfig

STREAMS = (Stream.BACKGROUND, Stream.SPEECH)
"""Order of the stream axis wherever both streams share a tensor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DualDubConfig:
    """Everything the model's shapes and clocks depend on."""

    text: TextConfig
    text_vocab_size: int
    clock: FrameClock
    codebook_size: int
    video_width: int
    speaker: SpeakerEncoderConfig
    aligner: AlignerConfig
    llama: LlamaConfig

    def __post_init__(self) -> None:
        widths = {self.speaker.out_width, self.aligner.width, self.llama.width}
        if len(widths) != 1:
            raise ConfigError(f"model: speaker, aligner and llama must have one width, got {sorted(widths)}")

    @property
    def eos(self) -> int:
        """The logit after the V codes: this stream ends here."""
        return self.codebook_size

    @property
    def bos(self) -> int:
        """The embedding row after the V codes: this stream begins."""
        return self.codebook_size

    @classmethod
    def paper(cls) -> "DualDubConfig":
        """Section 5.2; the MLP is LLaMA's 8/3 x width rounded to 128."""
        return cls(
            text=TextConfig(encoding="cl100k_base"),
            text_vocab_size=100_277,
            clock=FrameClock(sample_rate=24_000, hop_length=600),
            codebook_size=4096,
            video_width=512,
            speaker=SpeakerEncoderConfig(mel=MelConfig.paper(), width=512, num_layers=4, num_heads=8, out_width=2048),
            aligner=AlignerConfig(width=2048, num_heads=16),
            llama=LlamaConfig(width=2048, num_layers=24, num_heads=16, mlp_width=5504),
        )

    @classmethod
    def mini(cls) -> "DualDubConfig":
        """The size that ships: the same classes, learnable on a CPU."""
        return cls(
            text=TextConfig(encoding="mini"),
            text_vocab_size=1024,
            clock=FrameClock(sample_rate=24_000, hop_length=600),
            codebook_size=2048,
            video_width=128,
            speaker=SpeakerEncoderConfig(mel=MelConfig.mini(), width=128, num_layers=2, num_heads=4, out_width=256),
            aligner=AlignerConfig(width=256, num_heads=4),
            llama=LlamaConfig(width=256, num_layers=4, num_heads=4, mlp_width=704),
        )


class DualDub(nn.Module):
    """Two code streams from a speaker, a text and a video."""

    def __init__(self, config: DualDubConfig) -> None:
        super().__init__()
        self.config = config
        width = config.llama.width
        self.speaker_encoder = SpeakerEncoder(config.speaker)
        self.text_embedding = nn.Embedding(config.text_vocab_size, width)
        self.video_proj = nn.Linear(config.video_width, width, bias=False)
        # Two look-up tables isolate the tracks (section 3.2); the last row of each is BOS.
        self.background_embedding = nn.Embedding(config.codebook_size + 1, width)
        self.speech_embedding = nn.Embedding(config.codebook_size + 1, width)
        self.aligner = CrossModalAligner(config.aligner)
        self.llama = Llama(config.llama)
        self.engine = EngineConfig()
        self.kept: dict[object, object] = {}  # graphs and their memory, by what they were captured for
        # Both heads in one matmul: background codes and EOS, then speech codes and EOS.
        self.heads = nn.Linear(width, 2 * (config.codebook_size + 1), bias=False)

    def forward(self, conditions: "Conditions", codes: Tensor) -> Tensor:
        """Teacher-forced logits of every frame.

        Args:
            conditions: what the soundtrack is for, with video of T frames.
            codes: background and speech (B, 2, T); the last frame's is not read.

        Returns:
            (B, 2, T, V + 1); entry t is computed from codes before t only.
        """
        inputs = self.shifted(codes)
        fused = self.fuse(inputs, self.watch(conditions), conditions.present)
        sequence = self.begin(conditions, fused)
        hidden = self.llama(sequence.x, sequence.positions, mask=sequence.mask)
        return self.predict(hidden[:, -fused.shape[1] :])

    def shifted(self, codes: Tensor) -> Tensor:
        """Stream inputs of `codes` (B, 2, T): BOS, then all but the last; (B, 2, T)."""
        bos = codes.new_full((*codes.shape[:2], 1), self.config.bos)
        return torch.cat((bos, codes[..., :-1]), dim=-1)

    def watch(self, conditions: "Conditions") -> VideoKeys:
        """The aligner's view of the video, computed once a clip."""
        return self.aligner.watch(self.video_proj(conditions.video))

    def fuse(self, inputs: Tensor, video: VideoKeys, present: Tensor, cache: KVCache | None = None) -> Tensor:
        """Fused frames (B, T, D) of stream inputs (B, 2, T)."""
        background, speech = self.background_embedding(inputs[:, 0]), self.speech_embedding(inputs[:, 1])
        return self.aligner.fuse(background, speech, video, present, cache)

    def begin(self, conditions: "Conditions", fused: Tensor) -> "Sequence":
        """The sequence [speaker | text | fused], rows of shorter texts padded on the left.

        Padding on the left keeps every row's frames in the same columns, so that one step serves the batch.
        """
        prefix = torch.cat((conditions.speaker[:, None], self.text_embedding(conditions.text_ids)), dim=1)
        padding = conditions.text_ids.shape[1] - conditions.text_lengths  # (B,)
        num_prefix, total = prefix.shape[1], prefix.shape[1] + fused.shape[1]
        columns = torch.arange(total, device=fused.device)
        source = (columns[:num_prefix] - padding[:, None]).clamp(min=0)  # (B, P)
        prefix = prefix.gather(1, source[..., None].expand(-1, -1, prefix.shape[2]))
        x = torch.cat((prefix.to(fused.dtype), fused), dim=1)
        if not conditions.is_padded:
            return Sequence(x=x, positions=columns, mask=None)
        positions = (columns - padding[:, None]).clamp(min=0)
        seen = columns >= padding[:, None]  # (B, S)
        causal = columns[:, None] >= columns  # (S, S)
        # A padding column sees itself, or its softmax would be over nothing.
        mask = causal & (seen[:, None] | torch.eye(total, dtype=torch.bool, device=fused.device))
        return Sequence(x=x, positions=positions, mask=mask[:, None])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "DualDub":
        """Moving or casting the weights drops the graphs that read them where they were."""
        self.kept.clear()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def predict(self, hidden: Tensor) -> Tensor:
        """Both heads: hidden states (B, T, D) to logits (B, 2, T, V + 1)."""
        logits: Tensor = rearrange(self.heads(hidden), "b t (s v) -> b s t v", s=len(STREAMS))
        return logits


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a batch of soundtracks is for.

    Attributes:
        speaker: speaker embeddings, zeros for none (B, D).
        text_ids: padded on the right with any id (B, L) int64.
        text_lengths: valid ids of each row, at least 1 (B,) int64.
        video: video features at the codec's frame rate, zeros for none (B, T, video_width).
        present: 1 for a stream that takes part, 0 for a masked one: background, speech (B, 2).
        is_padded: whether rows differ in text length; told, not found out, so that no step waits for a device.
    """

    speaker: Tensor
    text_ids: Tensor
    text_lengths: Tensor
    video: Tensor
    present: Tensor
    is_padded: bool

    @property
    def is_one_clip(self) -> bool:
        """Whether all rows are one, expanded without copying: takes of one clip, whose prefix is read once."""
        rows = (self.speaker, self.text_ids, self.video, self.present)
        return not self.is_padded and len(self.present) > 1 and all(x.stride(0) == 0 for x in rows)

    def first(self) -> "Conditions":
        """Of the first row alone."""
        return Conditions(
            speaker=self.speaker[:1],
            text_ids=self.text_ids[:1],
            text_lengths=self.text_lengths[:1],
            video=self.video[:1],
            present=self.present[:1],
            is_padded=self.is_padded,
        )


@dataclass(frozen=True, slots=True)
class Sequence:
    """Input of the language model: x (B, S, D), positions (S,) or (B, S), mask (B, 1, S, S) or None."""

    x: Tensor
    positions: Tensor
    mask: Tensor | None


def init_dualdub(model: DualDub) -> None:
    """Initial weights for training, from torch's global generator.

    GPT-2's scheme: normal with 0.02, and what writes into the residual stream smaller by its depth.
    """
    residual = 0.02 / (2 * model.config.llama.num_layers) ** 0.5
    for name, parameter in model.named_parameters():
        if name.startswith("speaker_encoder.") or parameter.ndim < 2:
            continue  # torch's own initialisation; norms stay at one
        is_residual = name.endswith((".out.weight", ".down.weight"))
        nn.init.normal_(parameter, std=residual if is_residual else 0.02)
