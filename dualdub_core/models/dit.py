"""The flow decoder: a diffusion transformer that carries code embeddings to VAE latents.

Source: paper, sections 3.5 and 5.2; blocks after F5-TTS (adaLN-zero, RoPE over latents, full attention).
Z_0 is a table of codes, `latent_channels` wide, read by nearest neighbour at fixed rates, without noise. As
written, a seed then means nothing, guidance has nothing to drop, and codes that fall between the read ones
are lost; `source_noise` and `token_condition` are our two extensions, off unless the configuration says so.
Letters: B batch, S stems or times, T code frames, T' latent frames, D width, Z latent channels.
"""

import logging
import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ConfigError, InputError
from ..flow import Solver, evaluation_times, guide, solve
from ..progress import Progress, silent
from ..timing import FrameClock, nearest_frames
from .layers import apply_rotary, attend, rotary, split_heads
from .ops import place_of
from .token_condition import TokenCondition

_TIME_FEATURES, _TIME_SCALE = 256, 1000.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowDecoderConfig:
    """Sizes, clocks and form of the flow decoder.

    Attributes:
        code_clock: frames of the codes.
        latent_clock: frames of the VAE's latents.
        mlp_ratio: width of the feed-forward in model widths.
        source_noise: extension; sigma of Gaussian noise added to Z_0, in normalised latents. 0 = as written.
        token_condition: extension; whether the network also reads all codes at their own rate.
    """

    codebook_size: int
    code_clock: FrameClock
    latent_clock: FrameClock
    latent_channels: int
    width: int
    num_layers: int
    num_heads: int
    mlp_ratio: int
    source_noise: float = 0.0
    token_condition: bool = False

    def __post_init__(self) -> None:
        if self.width % self.num_heads or self.head_width % 2:
            raise ConfigError(f"decoder: width {self.width} must give {self.num_heads} heads of an even width")
        if not 0 <= self.source_noise < math.inf:
            raise ConfigError(f"decoder: source_noise {self.source_noise} must be finite and at least 0")

    @property
    def head_width(self) -> int:
        """Channels of one attention head."""
        return self.width // self.num_heads

    @classmethod
    def paper(cls) -> "FlowDecoderConfig":
        """Section 5.2, for the latents of Stable Audio."""
        return cls(
            codebook_size=4096,
            code_clock=FrameClock(sample_rate=24_000, hop_length=600),
            latent_clock=FrameClock(sample_rate=44_100, hop_length=2048),
            latent_channels=64,
            width=2048,
            num_layers=8,
            num_heads=16,
            mlp_ratio=4,
        )

    @classmethod
    def mini(cls) -> "FlowDecoderConfig":
        """The size that ships: the same classes, learnable on a CPU."""
        return cls(
            codebook_size=2048,
            code_clock=FrameClock(sample_rate=24_000, hop_length=600),
            latent_clock=FrameClock(sample_rate=24_000, hop_length=300),
            latent_channels=32,
            width=160,
            num_layers=4,
            num_heads=4,
            mlp_ratio=4,
        )


class FlowDecoder(nn.Module):
    """The velocity v(Z_t, t) of equation 6, its source Z_0, and the scale of the latents it works in."""

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: FlowDecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.codebook_size, config.latent_channels)
        self.token_condition: TokenCondition | None = None
        if config.token_condition:
            self.token_condition = TokenCondition(
                codebook_size=config.codebook_size,
                code_clock=config.code_clock,
                latent_clock=config.latent_clock,
                width=config.width,
            )
        self.time = TimeModulation(config)
        self.in_proj = nn.Linear(config.latent_channels, config.width)
        self.blocks = nn.ModuleList(DiTBlock(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width, eps=1e-6, elementwise_affine=False)
        self.out_proj = nn.Linear(config.width, config.latent_channels)
        nn.init.zeros_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels))
        self.register_buffer("latent_std", torch.ones(config.latent_channels))

    def forward(
        self,
        z_t: Tensor,
        t: "Tensor | Modulation",
        condition: Tensor | None = None,
        mask: Tensor | None = None,
        turns: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Velocity at a point of the path.

        Args:
            z_t: normalised latents on the way (B, T', Z).
            t: times in [0, 1] (B,), or what `modulations` made of them.
            condition: from `condition` or `uncondition` (B, T', D), exactly where the model has it.
            mask: True at valid frames (B, T'), at least one a row; all when None. What comes out at other
                frames means nothing and touches no valid one.
            turns: from `turns`, which a solver asks once; computed here when None.

        Returns:
            (B, T', Z).
        """
        assert (condition is None) == (self.token_condition is None), "a condition goes with token_condition"
        modulation = self.modulations(t) if isinstance(t, Tensor) else t
        x = self.in_proj(z_t.to(self.in_proj.weight.dtype))
        if condition is not None:
            x = x + condition
        cos, sin = self.turns(x.shape[1], x.device) if turns is None else turns
        keys = None if mask is None else mask[:, None, None]  # (B, 1, 1, T')
        for layer, block in enumerate(self.blocks):
            x = block(x, modulation.blocks[:, layer], cos, sin, keys)
        shift, scale = modulation.final[:, None].unbind(2)
        velocity: Tensor = self.out_proj(self.norm(x) * (1 + scale) + shift)
        return velocity

    def modulations(self, times: Tensor) -> "Modulation":
        """All adaLN vectors of the times (S,): a solver asks once for all its steps."""
        modulation: Modulation = self.time(times)
        return modulation

    def turns(self, num_latent_frames: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """The rotary embedding of T' latent frames."""
        return rotary(torch.arange(num_latent_frames, device=device), self.config.head_width)

    def source(self, codes: Tensor, num_latent_frames: int, noise: Tensor | None = None) -> Tensor:
        """Where the path starts: Z_0 = Embed(codes), plus sigma noise in a model with `source_noise`.

        Args:
            codes: (B, T) int64.
            num_latent_frames: T'.
            noise: standard normal (B, T', Z); a model with `source_noise` needs it, others do not read it.

        Returns:
            normalised latents (B, T', Z).
        """
        clocks = self.config.code_clock, self.config.latent_clock
        index = nearest_frames(*clocks, num_source=codes.shape[1], num_target=num_latent_frames)
        z_0: Tensor = self.embedding(codes[:, index.to(codes.device)])
        if self.config.source_noise:
            assert noise is not None, "a model with source_noise starts from noise"
            z_0 = z_0 + self.config.source_noise * noise
        return z_0

    def condition(self, codes: Tensor, num_latent_frames: int) -> Tensor | None:
        """All codes (B, T) as the network's second input (B, T', D); None without `token_condition`."""
        if self.token_condition is None:
            return None
        condition: Tensor = self.token_condition(codes, num_latent_frames)
        return condition

    def uncondition(self, condition: Tensor) -> Tensor:
        """The learned null in place of `condition` (B, T', D): for guidance, and rows dropped in training."""
        assert self.token_condition is not None, "nothing to drop without token_condition"
        return self.token_condition.null.to(condition.dtype).expand_as(condition)

    def normalise(self, latents: Tensor) -> Tensor:
        """The VAE's latents (B, Z, T') as the flow's (B, T', Z): mean 0, deviation 1 a channel; float32."""
        return (latents.float().transpose(1, 2) - self.latent_mean.float()) / self.latent_std.float()

    def denormalise(self, z: Tensor) -> Tensor:
        """The flow's latents (B, T', Z) as the VAE's (B, Z, T'), float32."""
        return (z.float() * self.latent_std.float() + self.latent_mean.float()).transpose(1, 2)


def decode_codes(
    decoder: FlowDecoder,
    codes: Tensor,
    *,
    num_latent_frames: int,
    num_steps: int = 10,
    solver: Solver = "euler",
    cfg_scale: float = 1.0,
    generator: torch.Generator | None = None,
    progress: Progress = silent,
) -> Tensor:
    """Integrate all stems from their codes to VAE latents, in one batch (equation 9).

    Args:
        decoder: in evaluation mode.
        codes: (S, T) int64, one row a stem.
        num_latent_frames: T', frames of the latent clock that cover the codes.
        num_steps: of the solver.
        solver: "euler" or "midpoint" (two evaluations a step).
        cfg_scale: 1.0 = off; without effect unless the decoder has `token_condition`.
        generator: on the CPU, rows draw from it in turn; only a decoder with `source_noise` reads it.
        progress: called after each step with stage "decode"; raising from it cancels.

    Returns:
        (S, Z, T') float32, on the decoder's device.

    Raises:
        InputError: the codes are of another codebook, or a setting is not usable.
    """
    config, device = decoder.config, place_of(decoder)
    _check_codes(codes, config.codebook_size)
    times = evaluation_times(num_steps, solver)
    noise = _draw_noise(config, codes.shape[0], num_latent_frames, generator)
    codes = codes.to(device)
    z_0 = decoder.source(codes, num_latent_frames, None if noise is None else noise.to(device))
    condition = decoder.condition(codes, num_latent_frames)
    is_guided = condition is not None and cfg_scale != 1.0
    if condition is not None and is_guided:
        condition = torch.cat((condition, decoder.uncondition(condition)))
    elif cfg_scale != 1.0:
        logger.warning("cfg_scale %s has no effect: this flow decoder has no token_condition", cfg_scale)
    modulations = decoder.modulations(torch.tensor(times, device=device))
    at = {t: modulations.row(index) for index, t in enumerate(times)}
    turns = decoder.turns(num_latent_frames, device)

    def velocity(z: Tensor, t: float) -> Tensor:
        slope: Tensor = decoder(torch.cat((z, z)) if is_guided else z, at[t], condition, turns=turns).float()
        if not is_guided:
            return slope
        with_codes, without = slope.chunk(2)
        return guide(with_codes, without, cfg_scale)

    # The state is float32: in half precision small steps would round away.
    z_1 = solve(velocity, z_0.float(), num_steps=num_steps, solver=solver, progress=progress)
    return decoder.denormalise(z_1)


class DiTBlock(nn.Module):
    """Attention and feed-forward, each shifted, scaled and gated by time; the identity before training."""

    def __init__(self, config: FlowDecoderConfig) -> None:
        super().__init__()
        width = config.width
        self.num_heads = config.num_heads
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, config.mlp_ratio * width)
        self.down = nn.Linear(config.mlp_ratio * width, width)

    def forward(self, x: Tensor, modulation: Tensor, cos: Tensor, sin: Tensor, keys: Tensor | None) -> Tensor:
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = modulation[:, None].unbind(2)
        h = self.norm(x) * (1 + scale) + shift
        q, k, v = (split_heads(part, self.num_heads) for part in self.qkv(h).chunk(3, dim=-1))
        x = x + gate * self.out(attend(apply_rotary(q, cos, sin), apply_rotary(k, cos, sin), v, keys))
        h = self.norm(x) * (1 + mlp_scale) + mlp_shift
        x = x + mlp_gate * self.down(F.gelu(self.up(h), approximate="tanh"))
        return x


class TimeModulation(nn.Module):
    """Times (S,) to the adaLN vectors of every block, zero before training.

    Computed in float32 whatever the weights' dtype or autocast say: the features turn by 1000 rad.
    """

    def __init__(self, config: FlowDecoderConfig) -> None:
        super().__init__()
        width = config.width
        self.hidden = nn.Linear(_TIME_FEATURES, width)
        self.out = nn.Linear(width, width)
        self.blocks = nn.ModuleList(nn.Linear(width, 6 * width) for _ in range(config.num_layers))
        self.final = nn.Linear(width, 2 * width)
        for linear in (*self.blocks, self.final):
            for parameter in linear.parameters():
                nn.init.zeros_(parameter)

    def forward(self, times: Tensor) -> "Modulation":
        half, device = _TIME_FEATURES // 2, times.device
        exponents = torch.arange(half, device=device, dtype=torch.float32) / (half - 1)
        angles = _TIME_SCALE * times.float()[:, None] * 10_000.0**-exponents
        features = torch.cat((angles.sin(), angles.cos()), dim=-1)
        # Backends without autocast refuse even to turn it off.
        is_autocast = torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)
        with torch.autocast(device.type, enabled=False) if is_autocast else nullcontext():
            embedded = F.silu(_exact(self.out, F.silu(_exact(self.hidden, features))))  # (S, D)
            blocks = torch.stack([_exact(linear, embedded) for linear in self.blocks], dim=1)
            final = _exact(self.final, embedded)
        dtype = self.final.weight.dtype
        return Modulation(
            blocks=rearrange(blocks, "s l (k d) -> s l k d", k=6).to(dtype),
            final=rearrange(final, "s (k d) -> s k d", k=2).to(dtype),
        )


@dataclass(frozen=True, slots=True)
class Modulation:
    """adaLN vectors of S times, or of one time for all rows of a batch (S = 1).

    Attributes:
        blocks: shift, scale, gate of the attention, then of the feed-forward (S, num_layers, 6, D).
        final: shift, scale before the output projection (S, 2, D).
    """

    blocks: Tensor
    final: Tensor

    def row(self, index: int) -> "Modulation":
        """The vectors of one time, for all rows of a batch."""
        return Modulation(blocks=self.blocks[index : index + 1], final=self.final[index : index + 1])


def _exact(linear: nn.Module, x: Tensor) -> Tensor:
    """A layer in the type of its input, and where that is."""
    assert isinstance(linear, nn.Linear)
    return F.linear(x, linear.weight.to(x), linear.bias.to(x))


def _check_codes(codes: Tensor, codebook_size: int) -> None:
    if codes.ndim != 2 or not codes.numel():
        raise InputError(f"codes: got shape {tuple(codes.shape)}, expected (stems, frames), at least one of each")
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or high >= codebook_size:
        raise InputError(
            f"codes: got values from {low} to {high}, this flow decoder reads 0 to {codebook_size - 1}; "
            "use the decoder of the model that wrote them"
        )


def _draw_noise(
    config: FlowDecoderConfig, num_rows: int, num_latent_frames: int, generator: torch.Generator | None
) -> Tensor | None:
    """Standard normal (S, T', Z), row by row: a stem's noise does not depend on how many follow it."""
    if not config.source_noise:
        return None
    if generator is None:
        raise InputError("flow decoder: it was trained to start from noise, got no generator; pass a seeded one")
    shape = (num_latent_frames, config.latent_channels)
    return torch.stack([torch.randn(shape, generator=generator) for _ in range(num_rows)])
