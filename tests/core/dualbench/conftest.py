"""A set of four clips in which a board jumps with a click, and somebody says words that are tones."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch

from dualdub_core.dualbench.testset import clip_id, sha256_of, write_set

RATE, FPS = 16_000, 25
WORDS = {"one": 300.0, "two": 450.0, "three": 700.0, "four": 1000.0}
OVERTONES = {"anna": 2500.0, "bert": 4000.0}
SPEECH_LEVEL, CLICK_LEVEL = 0.2, 0.4
CLIPS = [
    ("a", "one two", "anna", (0.28, 0.8), 1.2),
    ("b", "three one four", "bert", (0.44, 0.88), 1.2),
    ("c", "two four", "anna", (0.36, 0.72), 1.0),
    ("d", "four three", "bert", (0.2, 0.6), 1.0),
]
_WORD = 0.3  # seconds


def say(script: str, speaker: str, seconds: float) -> np.ndarray:
    """Each word 0.3 s of its tone, under the speaker's overtone; then silence."""
    times = np.arange(round(_WORD * RATE)) / RATE
    fade = np.minimum(1, np.minimum(times, times[::-1]) / 0.02)
    words = [
        SPEECH_LEVEL
        * fade
        * (np.sin(2 * np.pi * WORDS[w] * times) + 0.5 * np.sin(2 * np.pi * OVERTONES[speaker] * times))
        for w in script.split()
    ]
    speech = np.zeros(round(seconds * RATE), np.float32)
    said = np.concatenate(words)
    speech[: len(said)] = said
    return speech


def click(events: tuple[float, ...], seconds: float, seed: int) -> np.ndarray:
    """A burst of noise at each event, and nothing in between."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * RATE)) / RATE
    sound = np.zeros(times.size)
    for event in events:
        since = np.maximum(times - event, 0)
        sound += CLICK_LEVEL * (times >= event) * np.exp(-25 * since) * rng.standard_normal(times.size).clip(-2, 2) / 2
    return sound.astype(np.float32)


def film(path: Path, events: tuple[float, ...], seconds: float) -> None:
    """A textured board that jumps at each event."""
    texture = np.kron(np.random.default_rng(1).integers(0, 255, (8, 8, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "12", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(round(seconds * FPS)):
            jumps = sum(index >= round(event * FPS) for event in events)
            picture = np.full((48, 64, 3), 90, np.uint8)
            picture[8:40, 4 + 6 * jumps : 36 + 6 * jumps] = texture
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="session")
def toy_set(tmp_path_factory) -> Path:
    """The set's folder."""
    folder = tmp_path_factory.mktemp("sets") / "toy"
    (folder / "clips").mkdir(parents=True)
    lines = []
    for seed, (name, script, speaker, events, seconds) in enumerate(CLIPS):
        sounds = {
            "speech": say(script, speaker, seconds),
            "background": click(events, seconds, seed),
            "voice": say("two three one", speaker, 1.0),
        }
        files = {key: f"clips/{name}.{key}.flac" for key in sounds} | {"video": f"clips/{name}.mp4"}
        for key, samples in sounds.items():
            soundfile.write(folder / files[key], samples, RATE, subtype="PCM_16")
        film(folder / files["video"], events, seconds)
        lines.append(
            {
                "id": clip_id(name),
                **files,
                "script": script,
                "voice_of": f"{name}-other",
                "duration": seconds,
                "speaker": speaker,
                "source": "toy",
                "events": list(events),
                "sha256": {key: sha256_of(folder / path) for key, path in files.items()},
            }
        )
    write_set(folder, lines, {"name": "toy", "left_out": []})
    return folder


@pytest.fixture
def take_folder(toy_set, tmp_path):
    """Makes a folder of takes from the real stems; `damage(id, speech, background)` gives what is written instead."""

    def make(damage=lambda name, speech, background: (speech, background), *, name="takes", rates=(RATE, RATE)):
        folder = tmp_path / name
        folder.mkdir()
        for line in map(json.loads, (toy_set / "manifest.jsonl").read_text().splitlines()):
            stems = [soundfile.read(toy_set / line[key], dtype="float32")[0] for key in ("speech", "background")]
            for key, stem, rate in zip(("speech", "background"), damage(line["id"], *stems), rates, strict=True):
                if stem is not None:
                    soundfile.write(folder / f"{line['id']}.{key}.wav", stem, rate, subtype="FLOAT")
        return folder

    return make


class ToneRecogniser:
    """Hears the words of `say`: the strongest of their tones in every 0.3 s that is loud."""

    def transcribe(self, audio):
        samples = audio.waveform.mean(dim=(0, 1)).double().numpy()
        size = round(_WORD * audio.sample_rate)
        heard = []
        for part in samples[: len(samples) // size * size].reshape(-1, size):
            spectrum = np.abs(np.fft.rfft(part))
            tones = {word: spectrum[round(tone * _WORD)] for word, tone in WORDS.items()}
            if np.sqrt((part**2).mean()) > 0.02 and max(tones.values()) > 4 * np.median(spectrum):
                heard.append(max(tones, key=tones.get))
        return " ".join(heard)


class OvertoneJudge:
    """Hears who speaks in `say`: how strong each overtone is."""

    def embed(self, audio):
        spectrum = torch.fft.rfft(audio.waveform.mean(dim=(0, 1)).double()).abs()
        hertz = torch.arange(len(spectrum)) * audio.sample_rate / 2 / (len(spectrum) - 1)
        bands = [spectrum[(hertz - tone).abs() < 50].sum() for tone in OVERTONES.values()]
        return torch.stack(bands) + 1e-3


@pytest.fixture
def recogniser():
    return ToneRecogniser()


@pytest.fixture
def speakers():
    return OvertoneJudge()
