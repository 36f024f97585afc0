"""Sound into speech and background, by any separator: background = mix - speech, so the sum stays the mix.

The default is Mel-RoFormer (arXiv 2310.01809) as the package `melband-roformer-infer` has it, with a checkpoint that
the user gives: the known ones sing rather than speak and state no licence, so none comes with this project.

Letters: N samples.
"""

import contextlib
import hashlib
import importlib
import io
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

from dualdub_core.audio import resample
from dualdub_core.checkpoint import read_published
from dualdub_core.errors import CheckpointError, InputError

_CONFIG_INSIDE = "configs/config_vocals_mel_band_roformer.yaml"
_SPEECH_NAMES = ("speech", "vocals")


class Separator(Protocol):
    """Hears the speech in a sound."""

    @property
    def name(self) -> str:
        """Tells it, weights included, from every other: what another one separated is separated again."""

    def __call__(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """The speech in a mono sound (N,), float32 (N,) at the same rate."""


def separate(separator: Separator, waveform: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Speech and background of a mono sound (N,), each (N,).

    Raises:
        InputError: the separator changes the length or makes NaN.
    """
    speech = separator(waveform, sample_rate)
    if speech.shape != waveform.shape or not torch.isfinite(speech).all():
        raise InputError(
            f"{separator.name}: got speech of shape {tuple(speech.shape)} from {tuple(waveform.shape)}, "
            "expected as many samples, all finite; use another checkpoint"
        )
    return speech, waveform - speech


@dataclass(frozen=True, kw_only=True, slots=True)
class MelBandSeparator:
    """Mel-RoFormer by `pip install melband-roformer-infer`; weights are read at the first use.

    Attributes:
        checkpoint: weights, `.ckpt` or safetensors; nothing but tensors is read from them.
        config: its yaml; the package's own for the Kim vocal model when None.
        device: where it runs.
    """

    checkpoint: Path
    config: Path | None = None
    device: str = "cpu"

    @property
    def name(self) -> str:
        """With the weights' hash."""
        return f"melband-roformer-infer {_digest(self.checkpoint)}"

    @torch.inference_mode()
    def __call__(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """The speech in a mono sound (N,).

        Raises:
            InputError: the package or a file is missing, or the model has no stem of speech.
            CheckpointError: weights that do not fit the yaml.
        """
        model, config = _loaded(self.checkpoint, self.config, self.device)
        rate = int(config.model.get("sample_rate", 44_100))
        channels = 2 if config.model.stereo else 1
        mix = resample(waveform, sample_rate, rate).expand(channels, -1).contiguous()
        package = _package("mel_band_roformer")
        # The package reports on stdout and asks for CUDA's autocast wherever it runs.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stems, _ = package.demix_track(config, model, mix, self.device)
        named = next((name for name in _SPEECH_NAMES if name in stems), None)
        if named is None:
            raise InputError(f"{self.checkpoint.name}: separates {', '.join(stems)}, expected a stem speech or vocals")
        speech = resample(torch.from_numpy(stems[named]).mean(0), rate, sample_rate)[: len(waveform)]
        return F.pad(speech, (0, len(waveform) - len(speech)))


@lru_cache(maxsize=1)
def _loaded(checkpoint: Path, config_path: Path | None, device: str) -> tuple[Any, Any]:
    """Model, in evaluation mode, and configuration."""
    package = _package("mel_band_roformer")
    loader = _package("mel_band_roformer.inference").SafeLoaderWithTuple
    path = config_path or Path(package.__file__).parent / _CONFIG_INSIDE
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected the yaml that belongs to {checkpoint.name}")
    with path.open(encoding="utf-8") as file:
        config = _package("ml_collections").ConfigDict(yaml.load(file, Loader=loader))
    model = package.get_model_from_config("mel_band_roformer", config)
    try:
        model.load_state_dict(read_published(checkpoint))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"{checkpoint.name}: does not fit {path.name} ({reason}); give its own yaml") from error
    return model.to(device).eval(), config


def _package(name: str) -> Any:  # noqa: ANN401
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name}: not installed, separation needs it; run: pip install melband-roformer-infer"
        ) from error


@lru_cache(maxsize=4)
def _digest(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected weights of a Mel-RoFormer that you have the right to use")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]
