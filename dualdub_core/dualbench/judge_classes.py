"""How near the generated background comes to the real one, as networks trained on AudioSet hear it: FD, KL, IS, FAD.

Arithmetic and loading are audioldm_eval's. FD, IS and FAD are figures of the whole set and depend on N.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError
from ..types import Audio, Stream
from .cnn14 import Cnn14, Cnn14Config, Heard, load_cnn14
from .divergence import kl_divergence
from .figures import HALVES, SHUFFLED, TRUTH, Figure, mean_figure, set_figure
from .frechet import frechet_distance
from .frontends import VGGISH_RATE, judged_waveform
from .inception import inception_score
from .intervals import Statistic
from .judges import Facts, Subject, heard_in, next_one
from .testset import BenchClip, sha256_of
from .vggish import VGGish, VGGishConfig, load_vggish

_BACKGROUND = Stream.BACKGROUND


class PannsJudge:
    """FD, KL and IS by PANNs' Cnn14.

    Takes the network's file; `config` is the published one at 16 kHz unless given.
    """

    key = "panns"

    def __init__(self, weights: Path, config: Cnn14Config | None = None, *, device: str = "cpu") -> None:
        self._weights, self._config, self._device = weights, config or Cnn14Config.paper(), device

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The weights' hash and rate."""
        return {"sha256": sha256_of(self._weights), "sample_rate": self._config.sample_rate}

    def check(self) -> None:
        """The file is there.

        Raises:
            CheckpointError: it is not.
        """
        required(self._weights, "FD, KL and IS", "PANNs' Cnn14, such as Cnn14_16k_mAP=0.438.pth")

    @torch.inference_mode()
    def hear(self, subject: Subject) -> Facts:
        """Features and logits of the take's background and the real one; nothing where there is no background."""
        taken = subject.stem(_BACKGROUND)
        if taken is None:
            return Facts()
        made, real = self._heard(taken), self._heard(subject.real(_BACKGROUND))
        found = {"features": made.features, "logits": made.logits}
        return Facts(
            {"stems": bool(subject.streams)},
            {name: tensor[0] for name, tensor in found.items()}
            | {"real_features": real.features[0], "real_logits": real.logits[0]},
        )

    def figures(self, clips: Sequence[BenchClip], facts: Sequence[Facts], *, draws: int) -> list[Figure]:
        """FD, KL with its control, IS."""
        if not facts[0].tensors:
            return []
        rate = self._config.sample_rate
        tool = f"audioldm_eval 8dc07ee; Cnn14 {rate // 1000} kHz, {_named(self._weights, self.settings)}"
        where, count = heard_in(_BACKGROUND, facts[0].values["stems"]), len(facts)
        labels = {"unit": "", "tool": tool}
        logits = [fact.tensors["logits"][None] for fact in facts]
        real = [fact.tensors["real_logits"][None] for fact in facts]
        others = [real[other] for i in range(count) if (other := next_one(i, count)) is not None]
        kl = mean_figure(
            {clip.id: _kl(m, r) for clip, m, r in zip(clips, logits, real, strict=True)},
            controls={SHUFFLED: [_kl(m, r) for m, r in zip(logits, others, strict=False)]},
            key="kl",
            title=f"KL, {where}",
            better="lower",
            **labels,
        )
        if count < 2:
            return [kl]
        distance: dict[str, Any] = {"judge": self.key, "draws": draws, **labels}
        return [
            set_figure(
                SET_STATISTICS["fd"](facts),
                count,
                key="fd",
                title=f"FD, {where}",
                better="lower",
                controls=_halves([fact.tensors["real_features"][None] for fact in facts]),
                **distance,
            ),
            kl,
            set_figure(
                SET_STATISTICS["is"](facts),
                count,
                key="is",
                title=f"IS, {where}",
                better="higher",
                controls={TRUTH: inception_score(torch.cat(real)).mean},
                **distance,
            ),
        ]

    def _heard(self, audio: Audio) -> Heard:
        waveform = judged_waveform(audio, self._config.sample_rate)
        heard: Heard = self._network(waveform.to(self._device))
        return heard

    @cached_property
    def _network(self) -> Cnn14:
        return load_cnn14(self._weights, self._config, device=self._device).eval().requires_grad_(False)


class VggishJudge:
    """FAD by VGGish."""

    key = "vggish"

    def __init__(self, weights: Path, config: VGGishConfig | None = None, *, device: str = "cpu") -> None:
        self._weights, self._config, self._device = weights, config, device

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The weights' hash."""
        return {"sha256": sha256_of(self._weights)}

    def check(self) -> None:
        """The file is there.

        Raises:
            CheckpointError: it is not.
        """
        required(self._weights, "FAD", "torchvggish's vggish-10086976.pth")

    @torch.inference_mode()
    def hear(self, subject: Subject) -> Facts:
        """Embeddings of all patches of the take's background and the real one."""
        taken = subject.stem(_BACKGROUND)
        if taken is None:
            return Facts()
        sounds = {"patches": taken, "real_patches": subject.real(_BACKGROUND)}
        heard = {
            name: self._network(judged_waveform(audio, VGGISH_RATE)[0].to(self._device)).float()
            for name, audio in sounds.items()
        }
        return Facts({"stems": bool(subject.streams)}, heard)

    def figures(self, clips: Sequence[BenchClip], facts: Sequence[Facts], *, draws: int) -> list[Figure]:  # noqa: ARG002
        """FAD."""
        if not facts[0].tensors or len(facts) < 2:
            return []
        figure = set_figure(
            SET_STATISTICS["fad"](facts),
            len(facts),
            draws=draws,
            key="fad",
            title=f"FAD, {heard_in(_BACKGROUND, facts[0].values['stems'])}",
            unit="",
            better="lower",
            tool=f"audioldm_eval 8dc07ee; VGGish without PCA, {_named(self._weights, self.settings)}",
            controls=_halves([fact.tensors["real_patches"] for fact in facts]),
            judge=self.key,
        )
        return [figure]

    @cached_property
    def _network(self) -> VGGish:
        return load_vggish(self._weights, self._config, device=self._device).eval().requires_grad_(False)


def required(path: Path, metric: str, what: str) -> None:
    """Refuse weights that are not there.

    Raises:
        CheckpointError: no such file or folder.
    """
    if not path.exists():
        raise CheckpointError(f"{metric}: {path}: not there, expected {what}; nothing is downloaded by itself")


def _fd(facts: Sequence[Facts]) -> Statistic:
    made, real = (torch.stack([fact.tensors[name] for fact in facts]) for name in ("features", "real_features"))
    return lambda rows: frechet_distance(made[torch.from_numpy(rows)], real[torch.from_numpy(rows)])


def _is(facts: Sequence[Facts]) -> Statistic:
    logits = torch.stack([fact.tensors["logits"] for fact in facts])
    return lambda rows: inception_score(logits[torch.from_numpy(rows)]).mean


def _fad(facts: Sequence[Facts]) -> Statistic:
    def distance(rows: Any) -> float:  # noqa: ANN401
        chosen = [facts[row].tensors for row in rows]
        return frechet_distance(*(torch.cat([one[name] for one in chosen]) for name in ("patches", "real_patches")))

    return distance


SET_STATISTICS: Mapping[str, Callable[[Sequence[Facts]], Statistic]] = {"fd": _fd, "is": _is, "fad": _fad}
"""Figures of a whole set, by key, from the facts of its clips: what a comparison draws anew."""


def _named(weights: Path, settings: Mapping[str, Any]) -> str:
    return f"{weights.name} ({settings['sha256'][:8]})"


def _kl(made: torch.Tensor, real: torch.Tensor) -> float:
    return kl_divergence(made, real).softmax


def _halves(real: Sequence[torch.Tensor]) -> dict[str, float]:
    """A distance's control: every second clip against the others."""
    return {HALVES: frechet_distance(torch.cat(list(real[::2])), torch.cat(list(real[1::2])))} if len(real) > 3 else {}
