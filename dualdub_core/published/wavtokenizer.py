"""Published WavTokenizer weights: the original Lightning checkpoints and both transformers conversions.

Source of the names: github.com/jishengpeng/WavTokenizer and two revisions of its transformers converter, with
and without `encoder_model.`. Everything but the sample rate is read off the tensors' shapes.
"""

import math
import re
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import build, fill, read_published
from ..errors import CheckpointError, ConfigError
from ..models.wavtokenizer import WavTokenizer, WavTokenizerConfig

SAMPLE_RATE = 24_000
"""Hz, of every published WavTokenizer."""

# 440 Hz through wavtokenizer_large_unify_600_24k, the first ten of twenty codes: from the slow test of the
# transformers port, whose authors checked them against the original.
_GOLDEN_CODES = [1323, 1442, 3524, 2056, 3229, 1723, 2785, 1389, 3144, 1723]

_ENCODER = r"(?:feature_extractor\.encodec\.encoder\.model|(?:encoder_model\.)?encoder\.layers)\."
_QUANTIZER = (
    r"(?:feature_extractor\.encodec\.quantizer\.vq\.layers\.0\._codebook"
    r"|(?:encoder_model\.)?quantizer\.codebook)\."
)
_LSTM = re.compile(_ENCODER + r"(\d{1,3})\.(lstm\.\w+)")
_CONV = re.compile(
    _ENCODER + r"(\d+(?:\.block\.[13]|\.shortcut)?)\.conv\.(?:conv\.)?"
    r"(bias|weight_g|weight_v|parametrizations\.weight\.original[01])"
)
_CODEBOOK = re.compile(_QUANTIZER + r"embed")
# EnCodec's own decoder and the window, which nothing reads, and the statistics that trained the codebook.
_DEAD = re.compile(
    r"feature_extractor\.encodec\.decoder\..+|head\.istft\.window|" + _QUANTIZER + r"(?:inited|cluster_size|embed_avg)"
)
_TRAINING_ONLY = ("multiperioddisc.", "multiresddisc.", "dac.", "dacdiscriminator.", "melspec_loss.")
_WEIGHT_NORM = {
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
}


def load_wavtokenizer(
    path: Path | str, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> WavTokenizer:
    """The codec in a published weights file, in evaluation mode without gradients.

    Args:
        path: `.ckpt` as its authors publish it, or `.safetensors` in any of the three namings.
        device: where the tensors go.
        dtype: of the decoder; encoder and codebook stay float32, in which alone the codes are right.

    Raises:
        CheckpointError: the file is missing, damaged, hostile, or not exactly one WavTokenizer.
    """
    what = Path(path).name
    state = _fold_weight_norm(_rename(read_published(path), what), what)
    broken = sorted(name for name, tensor in state.items() if not torch.isfinite(tensor).all())
    if broken:
        raise CheckpointError(f"{what}: NaN or infinite weights in {broken[0]}; get the file again")
    codec = build("codec", _infer_config(state, what))
    assert isinstance(codec, WavTokenizer)
    decoder = ("backbone.", "head.")
    for name, tensor in state.items():
        # Copied, since tensors of a memory-mapped file would keep the whole of it open.
        state[name] = tensor.to(device, dtype if name.startswith(decoder) else torch.float32, copy=True)
    fill(codec, state, what)
    return codec


def self_test(codec: WavTokenizer) -> None:
    """Encode half a second of 440 Hz and compare with the codes known of the published 40-token model.

    Raises:
        CheckpointError: another model, damaged weights, or arithmetic that is not float32.
    """
    if codec.config != WavTokenizerConfig.paper():
        raise CheckpointError("codec: other sizes than wavtokenizer_large_unify_600_24k, the only one with a self-test")
    phase = 2 * math.pi * 440 * torch.arange(12_000, dtype=torch.float64) / SAMPLE_RATE
    sine = (0.5 * phase.sin()).to(device=codec.codebook.weight.device, dtype=torch.float32)
    codes = codec.encode(sine[None, None])[0, : len(_GOLDEN_CODES)].tolist()
    if codes != _GOLDEN_CODES:
        raise CheckpointError(
            f"codec: 440 Hz gave codes {codes}, expected {_GOLDEN_CODES}; these weights are not "
            f"wavtokenizer_large_unify_600_24k, or this device does not compute in float32"
        )


def _rename(published: dict[str, Tensor], what: str) -> dict[str, Tensor]:
    """The tensors in use under our names, weight norm still in two parts; unknown names stay as they are."""
    layers = _encoder_layers(published, what)
    state: dict[str, Tensor] = {}
    for name, tensor in published.items():
        if name.startswith(_TRAINING_ONLY) or _DEAD.fullmatch(name):
            continue
        ours = name
        if _CODEBOOK.fullmatch(name):
            ours = "codebook.weight"
        elif match := _LSTM.fullmatch(name):
            ours = f"encoder.{match[2]}"
        elif (match := _CONV.fullmatch(name)) and match[1] in layers:
            ours = f"encoder.{layers[match[1]]}.{_WEIGHT_NORM.get(match[2], match[2])}"
        elif name.startswith("head.out."):
            ours = name.replace("out", "linear", 1)
        if ours in state:
            raise CheckpointError(f"{what}: holds {ours} twice, in two namings; get the file again")
        state[ours] = tensor
    return state


def _encoder_layers(published: dict[str, Tensor], what: str) -> dict[str, str]:
    """Published place of each of the encoder's convolutions -> our name.

    Activations take places too: a stage has three, and the LSTM comes right after the last.
    """
    places = {int(match[1]) for match in map(_LSTM.fullmatch, published) if match}
    if len(places) != 1 or (lstm := places.pop()) < 4 or lstm % 3 != 1:
        raise CheckpointError(
            f"{what}: not a WavTokenizer, it has no encoder; expected wavtokenizer_*.ckpt or its conversion"
        )
    layers = {"0": "conv_in", f"{lstm + 2}": "conv_out"}
    for stage, place in enumerate(range(1, lstm, 3)):
        layers[f"{place}.block.1"] = f"stages.{stage}.squeeze"
        layers[f"{place}.block.3"] = f"stages.{stage}.expand"
        layers[f"{place}.shortcut"] = f"stages.{stage}.shortcut"
        layers[f"{place + 2}"] = f"stages.{stage}.down"
    return layers


def _fold_weight_norm(state: dict[str, Tensor], what: str) -> dict[str, Tensor]:
    """Each pair weight_g, weight_v as the one weight it stands for; half a pair is left, to be refused."""
    folded = dict(state)
    for name in [name for name in state if name.endswith(".weight_v")]:
        stem = name.removesuffix("weight_v")
        if stem + "weight_g" not in folded:
            continue
        length, direction = folded.pop(stem + "weight_g").float(), folded.pop(name).float()
        if direction.ndim != 3 or length.shape != (len(direction), 1, 1):
            raise CheckpointError(
                f"{what}: wrong shapes: weight norm of {stem[:-1]} is {tuple(length.shape)} for "
                f"{tuple(direction.shape)}; the file belongs to another model or is damaged"
            )
        folded[stem + "weight"] = direction * (length / direction.norm(dim=(1, 2), keepdim=True))
    return folded


def _infer_config(state: dict[str, Tensor], what: str) -> WavTokenizerConfig:
    def size(name: str, axis: int = 0) -> int:
        tensor = state.get(name)
        if tensor is None or tensor.ndim <= axis:
            raise CheckpointError(f"{what}: missing {name}, or of a wrong shape; the file is incomplete")
        return tensor.shape[axis]

    def count(pattern: str) -> int:
        return len({match[1] for name in state if (match := re.match(pattern, name))})

    num_stages = count(r"encoder\.stages\.(\d+)\.")
    try:
        return WavTokenizerConfig(
            sample_rate=SAMPLE_RATE,
            n_filters=size("encoder.conv_in.weight"),
            dimension=size("codebook.weight", 1),
            # A kernel is twice its stride.
            ratios=tuple(size(f"encoder.stages.{i}.down.weight", 2) // 2 for i in range(num_stages))[::-1],
            lstm_layers=count(r"encoder\.lstm\.weight_ih_l(\d+)$"),
            codebook_size=size("codebook.weight"),
            backbone_width=size("backbone.embed.weight"),
            backbone_mlp_width=size("backbone.convnext.0.pwconv1.weight"),
            num_backbone_layers=count(r"backbone\.convnext\.(\d+)\."),
            num_bandwidths=size("backbone.norm.scale.weight"),
            n_fft=size("head.linear.weight") - 2,
        )
    except ConfigError as error:
        raise CheckpointError(f"{what}: not a WavTokenizer: {error}") from error
