"""One clip: its pictures, its two stems and all that is known about them.

Letters: N samples, F video frames, H W picture.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dualdub_core.timing import num_samples

from .config import CorpusConfig, Kind, Split, generator_of_clip
from .face import mouth_opening, sound_onset
from .impacts import Event, impacts
from .rooms import ROOMS, Room, impulse_response, reverberate
from .scene import Scene, draw_scene, paint
from .speech import Utterance, WordTime, say
from .splits import held_out_pairs
from .voices import HELD_OUT_VOICES, TRAINING_VOICES, SpeakerSpec
from .words import Phrase, draw_few_words, draw_phrase, draw_unseen_pairs

FloatArray = NDArray[np.float32]

_MARGIN = 0.15
_SPEECH_RMS = 0.09
_EVENTS_RMS, _EVENTS_PEAK = 0.06, 0.8
_RAIN_RMS, _RAIN_BESIDE_EVENTS_RMS = 0.08, 0.012
_CEILING = 0.98


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip.

    Attributes:
        id: unique in a corpus.
        kind: what it holds.
        split: who may read it.
        duration: seconds.
        speech: stem (N,), or None; already rounded to 16 bits, like the background, so their sum is the mix.
        background: stem (N,), or None.
        pictures: (F, H, W, 3) uint8 at the corpus' fps, or None.
        phrases: what is said; silence between two of them.
        speaker: name of the voice, or "".
        words: what is said when.
        mouth_onsets: seconds at which each phrase is first heard, and the mouth opens.
        mouth_box: left, top, right, bottom of the mouth as fractions of the picture; empty without a face.
        events: what is seen and heard in the background.
        layout: kind and times of the events, which decide the split.
        source: the thing that sounds, or "".
        room: name.
        level_db: of both stems.
        unseen: what of it is in no training clip, out of phrase, pair, speaker, layout.
    """

    id: str
    kind: Kind
    split: Split
    duration: float
    speech: FloatArray | None
    background: FloatArray | None
    pictures: NDArray[np.uint8] | None
    phrases: tuple[Phrase, ...]
    speaker: str
    words: tuple[WordTime, ...]
    mouth_onsets: tuple[float, ...]
    mouth_box: tuple[float, ...]
    events: tuple[Event, ...]
    layout: str
    source: str
    room: str
    level_db: float
    unseen: tuple[str, ...]

    @property
    def text(self) -> str:
        """The transcript; a comma where there is a silence."""
        return ", ".join(" ".join(phrase) for phrase in self.phrases)


@dataclass(frozen=True, slots=True)
class _Said:
    """Speech laid out in time: dry sound (N,), its phrases, voice, words and onsets."""

    sound: FloatArray
    phrases: tuple[Phrase, ...]
    speaker: SpeakerSpec
    words: tuple[WordTime, ...]
    onsets: tuple[float, ...]


def make_clip(config: CorpusConfig, kind: Kind, split: Split, index: int) -> Clip:
    """The clip of this number; the same arguments give the same clip on every machine.

    Raises:
        InputError: it needs speech, and flite is not installed.
    """
    rng = generator_of_clip(config.seed, kind, split, index)
    said = _speak(rng, config, kind, split) if kind.has_speech else None
    duration = len(said.sound) / config.sample_rate if said else float(rng.choice(config.durations))
    scene = draw_scene(rng, config, kind, split, duration) if kind.has_pictures else None
    room = scene.room if scene else ROOMS[rng.integers(len(ROOMS))]
    level_db = float(rng.uniform(config.level_db[0], config.level_db[1]))
    background = _background(rng, config, scene, num_samples(duration, config.sample_rate)) if scene else None
    speech, background = _place(rng, config, room, level_db, said.sound if said else None, background)
    return Clip(
        id=f"{split.value}-{kind.value}-{config.seed}-{index:06d}",
        kind=kind,
        split=split,
        duration=duration,
        speech=speech,
        background=background,
        pictures=_pictures(config, scene, said, duration) if scene else None,
        phrases=said.phrases if said else (),
        speaker=said.speaker.name if said else "",
        words=said.words if said else (),
        mouth_onsets=said.onsets if said else (),
        mouth_box=scene.face.mouth_box if scene and scene.face else (),
        events=scene.events if scene else (),
        layout=scene.layout if scene else "",
        source=scene.source if scene else "",
        room=room.name,
        level_db=level_db,
        unseen=_unseen(split, said, scene),
    )


def _speak(rng: np.random.Generator, config: CorpusConfig, kind: Kind, split: Split) -> _Said:
    """Say one phrase or two; a clip with pictures has a length of the corpus, others end with the speech."""
    is_test = split is Split.TEST
    voices = HELD_OUT_VOICES if is_test and rng.random() < config.unseen_voice_probability else TRAINING_VOICES
    speaker = voices[rng.integers(len(voices))]
    stretch = float(rng.uniform(0.95, 1.1))
    draw = draw_unseen_pairs if is_test and rng.random() < config.unseen_pair_probability else None
    phrases = [draw(rng) if draw else draw_few_words(rng, split) if kind is Kind.WORDS else draw_phrase(rng, split)]
    if kind is Kind.JOINT and rng.random() < config.pause_probability:
        phrases.append(_following(rng, split, phrases[0]))
    said = [say(phrase, speaker, stretch_by=stretch, sample_rate=config.sample_rate) for phrase in phrases]
    pause = float(rng.uniform(0.3, 0.7))
    longest = max(config.durations) - 2 * _MARGIN
    if len(said) == 2 and _length(said, pause, config) > longest:
        phrases, said = phrases[:1], said[:1]
    length = _length(said, pause, config)
    if not kind.has_pictures:
        lead, tail = rng.uniform(0.05, 0.15), rng.uniform(0.08, 0.15)
        samples = -(-round((lead + length + tail) * config.sample_rate) // config.speech_grid) * config.speech_grid
    else:
        duration = float(rng.choice([d for d in config.durations if d >= length + 2 * _MARGIN]))
        lead = rng.uniform(_MARGIN, duration - length - _MARGIN)
        samples = num_samples(duration, config.sample_rate)
    return _lay_out(config, phrases, speaker, said, lead=float(lead), pause=pause, samples=samples)


def _lay_out(
    config: CorpusConfig,
    phrases: list[Phrase],
    speaker: SpeakerSpec,
    said: list[Utterance],
    *,
    lead: float,
    pause: float,
    samples: int,
) -> _Said:
    sound = np.zeros(samples, dtype=np.float32)
    words: list[WordTime] = []
    onsets = []
    start = round(lead * config.sample_rate)
    for utterance in said:
        sound[start : start + len(utterance.waveform)] = utterance.waveform
        seconds = start / config.sample_rate
        words += [WordTime(word.word, word.start + seconds, word.end + seconds) for word in utterance.words]
        onsets.append(seconds + sound_onset(utterance.waveform, sample_rate=config.sample_rate))
        start += len(utterance.waveform) + round(pause * config.sample_rate)
    return _Said(sound, tuple(phrases), speaker, tuple(words), tuple(onsets))


def _following(rng: np.random.Generator, split: Split, first: Phrase) -> Phrase:
    """A second phrase; outside the test split the pair of words across the silence is no held-out one."""
    while True:
        second = draw_phrase(rng, split)
        if not held_out_pairs((first[-1], second[0])) and len(second) <= 4:
            return second


def _length(said: list[Utterance], pause: float, config: CorpusConfig) -> float:
    return sum(len(u.waveform) for u in said) / config.sample_rate + pause * (len(said) - 1)


def _background(rng: np.random.Generator, config: CorpusConfig, scene: Scene, samples: int) -> FloatArray:
    sound = np.zeros(samples, dtype=np.float32)
    if scene.thing:
        sound = impacts(scene.events, samples, sample_rate=config.sample_rate, size=scene.thing.size, rng=rng)
        rms, peak = float(np.sqrt((sound**2).mean())), float(np.abs(sound).max())
        sound *= min(_EVENTS_RMS / rms, _EVENTS_PEAK / peak)
    if scene.rain:
        rain = scene.rain.sound(samples, sample_rate=config.sample_rate, rng=rng)
        sound += rain * (_RAIN_BESIDE_EVENTS_RMS if scene.thing else _RAIN_RMS)
    return sound


def _place(
    rng: np.random.Generator,
    config: CorpusConfig,
    room: Room,
    level_db: float,
    speech: FloatArray | None,
    background: FloatArray | None,
) -> tuple[FloatArray | None, FloatArray | None]:
    """Put both stems into one room at one level, where their sum does not clip, and round to 16 bits."""
    response = impulse_response(room, sample_rate=config.sample_rate, rng=rng)
    if speech is not None:
        active = np.sqrt((speech[np.abs(speech) > 0] ** 2).mean())
        speech = reverberate(speech * (_SPEECH_RMS / active), response)
    if background is not None:
        background = reverberate(background, response)
    stems = [stem for stem in (speech, background) if stem is not None]
    gain = min(10 ** (level_db / 20), _CEILING / max(float(np.abs(sum(stems)).max()), 1e-9))
    speech, background = (
        None if stem is None else (np.rint(stem * (gain * 32768)) / 32768).astype(np.float32)
        for stem in (speech, background)
    )
    return speech, background


def _pictures(config: CorpusConfig, scene: Scene, said: _Said | None, duration: float) -> NDArray[np.uint8]:
    times = np.arange(round(duration * config.fps)) / config.fps
    opening = mouth_opening(said.sound, times, sample_rate=config.sample_rate) if said else np.zeros(len(times))
    return paint(scene, times, opening, size=config.frame_size)


def _unseen(split: Split, said: _Said | None, scene: Scene | None) -> tuple[str, ...]:
    if split is Split.TRAIN:
        return ()
    words = [word.word for word in said.words] if said else []
    facts = {
        "phrase": said is not None,
        "pair": bool(held_out_pairs(words)),
        "speaker": said is not None and said.speaker.held_out,
        "layout": scene is not None,
    }
    return tuple(name for name, is_true in facts.items() if is_true)
