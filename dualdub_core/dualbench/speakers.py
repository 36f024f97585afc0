"""SIM: whether two recordings are of one speaker, as a WavLM speaker-verification network hears them.

The paper names WavLM and no weights; microsoft/wavlm-base-plus-sv is the likely ones. Its ground truth scores 1.00, so
similarity is taken against the real clip of the same video (sim_gt); against another utterance of the speaker
(sim_ref) figures are lower: say which. Each recording is heard alone, as padding in a batch changes embeddings a
little.

Letters: B batch, C channels, N samples, D width.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

from ..audio import to_mono, with_rate
from ..errors import CheckpointError, InputError
from ..types import Audio, check_finite

_RATE = 16_000  # Hz
_SHORTEST = 8_000  # samples; the network's context is 0.3 s


class SpeakerJudge:
    """A speaker-verification network of transformers with its feature extractor.

    Attributes:
        name: of the weights' folder; print it beside every figure.
    """

    def __init__(self, network: Any, extractor: Any, name: str) -> None:  # noqa: ANN401
        self.name = name
        self._network = network
        self._extractor = extractor

    def embed(self, audio: Audio) -> Tensor:
        """The speaker's embedding; compare two by `paired_cosines`.

        Args:
            audio: one item (1, C, N) at any rate; the mean of its channels, silence and all. Less than 0.5 s is
                extended with silence.

        Returns:
            (D,) float32 on the CPU.

        Raises:
            InputError: more than one item, or samples that are not finite.
        """
        check_finite(audio, "SIM")
        if audio.waveform.shape[0] != 1:
            raise InputError(f"SIM: got a batch of {audio.waveform.shape[0]} recordings, expected one at a time")
        samples = with_rate(to_mono(audio), _RATE).waveform[0, 0].float().cpu()
        samples = F.pad(samples, (0, max(0, _SHORTEST - samples.shape[0])))
        inputs = self._extractor(samples.numpy(), sampling_rate=_RATE, return_tensors="pt")
        with torch.inference_mode():
            heard = self._network(inputs.input_values.to(self._network.device))
        embedding: Tensor = heard.embeddings[0].float().cpu()
        return embedding


def load_speaker_judge(folder: Path | str, *, device: torch.device | str = "cpu") -> SpeakerJudge:
    """The network from a folder as Hugging Face publishes it: weights, config.json, preprocessor_config.json.

    Raises:
        CheckpointError: the folder is missing or holds another kind of model.
    """
    folder = Path(folder)
    for name in ("config.json", "preprocessor_config.json"):
        if not (folder / name).is_file():
            raise CheckpointError(
                f"SIM: {folder} has no {name}; expected the folder of a WavLM speaker-verification model, "
                "such as a download of microsoft/wavlm-base-plus-sv"
            )
    from transformers import AutoConfig, AutoFeatureExtractor, WavLMForXVector

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if "WavLMForXVector" not in (config.architectures or ()):
        raise CheckpointError(f"SIM: {folder.name} holds {config.architectures}, expected WavLMForXVector")
    try:
        network, report = WavLMForXVector.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except (OSError, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"SIM: {folder.name} has no usable weights ({reason}); download it again") from error
    if report["missing_keys"]:
        raise CheckpointError(f"SIM: {folder.name} lacks {sorted(report['missing_keys'])[:3]}; download it again")
    extractor = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
    return SpeakerJudge(network.to(device).float().eval().requires_grad_(False), extractor, folder.name)
