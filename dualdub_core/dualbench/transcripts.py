"""What a recogniser hears in the speech: Whisper's transcript, the input of `word_errors`.

The paper takes Whisper-large-v3. English is fixed and not guessed, decoding is greedy, so that a transcript is the
same every time.

Letters: C channels, N samples.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from ..audio import to_mono, with_rate
from ..errors import CheckpointError, InputError
from ..types import Audio, check_finite

_RATE = 16_000  # Hz
_WINDOW = 30 * _RATE  # samples that Whisper hears at a time


class Recogniser:
    """Whisper by transformers with its processor.

    Attributes:
        name: of the weights' folder; print it beside every WER.
    """

    def __init__(self, network: Any, processor: Any, name: str) -> None:  # noqa: ANN401
        self.name = name
        self._network = network
        self._processor = processor

    def transcribe(self, audio: Audio) -> str:
        """The words of one recording, as Whisper writes them.

        Args:
            audio: one item (1, C, N) at any rate; the mean of its channels. More than 30 s is heard in parts of
                30 s, and a word on their border may be lost.

        Returns:
            Text, not normalised; "" where nothing is heard.

        Raises:
            InputError: more than one item, or samples that are not finite.
        """
        check_finite(audio, "WER")
        if audio.waveform.shape[0] != 1:
            raise InputError(f"WER: got a batch of {audio.waveform.shape[0]} recordings, expected one at a time")
        samples = with_rate(to_mono(audio), _RATE).waveform[0, 0].float().cpu()
        return " ".join(filter(None, map(self._hear, torch.split(samples, _WINDOW))))

    def _hear(self, samples: torch.Tensor) -> str:
        inputs = self._processor(samples.numpy(), sampling_rate=_RATE, return_tensors="pt", return_attention_mask=True)
        with torch.inference_mode():
            ids = self._network.generate(
                inputs.input_features.to(self._network.device, self._network.dtype),
                attention_mask=inputs.attention_mask.to(self._network.device),
                do_sample=False,
                num_beams=1,
                # A checkpoint for English only knows neither a language nor a task.
                **({"language": "en", "task": "transcribe"} if self._is_multilingual else {}),
            )
        text: str = self._processor.batch_decode(ids, skip_special_tokens=True)[0]
        return text.strip()

    @property
    def _is_multilingual(self) -> bool:
        return bool(getattr(self._network.generation_config, "is_multilingual", False))


def load_recogniser(folder: Path | str, *, device: torch.device | str = "cpu") -> Recogniser:
    """The network from a folder as Hugging Face publishes it, such as a download of openai/whisper-large-v3.

    Raises:
        CheckpointError: the folder is missing, incomplete or holds another kind of model.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"WER: {folder} has no config.json; expected the folder of a Whisper model, "
            "such as a download of openai/whisper-large-v3"
        )
    from transformers import AutoConfig, WhisperForConditionalGeneration, WhisperProcessor

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if config.model_type != "whisper":
        raise CheckpointError(f"WER: {folder.name} holds a {config.model_type} model, expected whisper")
    try:
        network = WhisperForConditionalGeneration.from_pretrained(folder, local_files_only=True)
        processor = WhisperProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"WER: {folder.name} is incomplete or damaged ({reason}); download it again") from error
    return Recogniser(network.to(device).float().eval().requires_grad_(False), processor, folder.name)
