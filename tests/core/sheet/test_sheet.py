from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from dualdub_core.errors import InputError
from dualdub_core.media.film import FilmPicture
from dualdub_core.scripts.formats import parse_script
from dualdub_core.scripts.measured import measure_lines
from dualdub_core.scripts.plan import plan_script
from dualdub_core.scripts.words import WordTime
from dualdub_core.sheet.fonts import lettered
from dualdub_core.sheet.scores import simple_scores
from dualdub_core.sheet.sheet import WIDTH, TakeSheet, draw_sheet
from dualdub_core.sheet.sounds import draw_wave, spectrogram
from dualdub_core.sheet.tables import facts_rows
from dualdub_core.sheet.theme import PALETTES, shortened, width_of, wrapped
from dualdub_core.types import Audio, Soundtrack

RATE = 8_000
BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (255, 0, 0)


def stems(seconds=2.0):
    speech = torch.zeros(1, 1, round(seconds * RATE))
    speech[..., RATE // 2 : RATE] = 0.3 * torch.sin(torch.arange(RATE // 2) * 0.4)
    noise = 0.05 * torch.randn(1, 1, speech.shape[-1], generator=torch.Generator().manual_seed(0))
    return Soundtrack(Audio(speech, RATE), Audio(noise, RATE))


@pytest.fixture(scope="module")
def sheet():
    soundtrack = stems()
    plan = plan_script(parse_script("[00:00.5-00:01.0] [Anna] Who is there? [00:01.5-00:01.9] Ça, 你好 🙂"), 2.0)
    return TakeSheet(
        title="clip.mp4",
        soundtrack=soundtrack,
        film=[FilmPicture(0.5, np.full((30, 40, 3), 200, np.uint8)), FilmPicture(1.5, np.zeros((30, 40, 3), np.uint8))],
        lines=measure_lines(soundtrack.speech, plan).lines,
        words=[WordTime("who", 0.5, 0.7)],
        onsets=[1.2],
        moves=[0.4],
        facts={"model": "mini", "speech seed": "7"},
        scores={"lufs": {"mix": -23.0, "none": None}, "warnings": ["something stands out"], "passed": True},
    )


def has(image, colour):
    return bool((np.asarray(image) == np.array(colour)).all(axis=-1).any())


def columns_of(image, colour):
    """Columns in which a colour is seen."""
    return np.flatnonzero((np.asarray(image) == np.array(colour)).all(axis=-1).any(axis=0))


@pytest.mark.parametrize("theme", list(PALETTES))
def test_all_parts_stand_where_their_time_is(sheet, theme):
    sheet = replace(sheet, theme=theme)
    image, palette = draw_sheet(sheet), PALETTES[theme]
    assert image.width == WIDTH
    assert image.getpixel((2, 2)) == palette.paper
    assert has(image, palette.onset)
    assert has(image, palette.move)
    assert abs(columns_of(image.crop((140, 0, WIDTH, image.height)), palette.move) + 140 - sheet.x(0.4)).max() <= 7
    # Cues are orange triangles; the warning's mark lies left of the axis.
    marks = columns_of(image, palette.cue)
    marks = marks[marks > 140]
    for cue in (0.5, 1.5):
        assert abs(marks - sheet.x(cue)).min() <= 1
    assert len([x for x in marks if min(abs(x - sheet.x(cue)) for cue in (0.5, 1.5)) > 7]) == 0


def test_the_same_data_gives_the_same_picture_and_less_of_it_a_lower_one(sheet):
    image = draw_sheet(sheet)
    assert image.tobytes() == draw_sheet(sheet).tobytes()
    bare = draw_sheet(TakeSheet(title="", soundtrack=sheet.soundtrack))
    assert bare.width == WIDTH
    assert bare.height < image.height - 300


def test_silence_and_a_few_samples_are_drawn_too():
    for samples in (1, 50, RATE):
        silence = Audio(torch.zeros(1, 2, samples), RATE)
        assert draw_sheet(TakeSheet(title="silence", soundtrack=Soundtrack(silence, silence))).height > 300


def test_a_batch_and_an_unknown_theme_are_refused():
    both = Audio(torch.zeros(2, 1, 100), RATE)
    with pytest.raises(InputError, match="expected one take with sound; draw one sheet each"):
        TakeSheet(title="", soundtrack=Soundtrack(both, both))
    with pytest.raises(InputError, match="got the theme 'pink', expected light or dark"):
        TakeSheet(title="", soundtrack=stems(), theme="pink")


def test_a_wave_reaches_as_high_as_its_samples():
    sound = torch.zeros(1, 1, 100)
    sound[..., 50:] = 0.5
    image = Image.new("RGB", (100, 41), WHITE)
    draw_wave(image, (0, 0, 100, 40), Audio(sound, 100), full=1.0, soft=RED, strong=RED)
    drawn = (np.asarray(image) == RED).all(axis=-1)
    assert drawn[:, 10].sum() == 1
    assert drawn[:, 80].nonzero()[0].min() == 10
    assert drawn[:, 80].nonzero()[0].max() == 30


def test_a_tone_is_a_line_at_its_height_from_when_it_sounds():
    tone = torch.sin(torch.arange(24_000) * (2 * np.pi * 2_000 / 24_000))
    sound = torch.cat((torch.zeros(24_000), tone))[None, None]
    picture = np.asarray(spectrogram(Audio(sound, 24_000), (200, 100), (BLACK, WHITE)))[..., 0]
    assert picture[:, :95].max() == 0
    row = picture[:, 150].argmax()
    expected = 100 * (1 - np.log10(1 + 2_000 / 700) / np.log10(1 + 12_000 / 700))
    assert abs(row - expected) < 3
    assert picture[row, 150] > 250


def test_words_fit_their_places():
    assert shortened("short", 15, 500) == "short"
    text = shortened("a long line that has no room at all", 15, 100)
    assert text.endswith("…")
    assert width_of(text, 15) <= 100
    assert shortened("anything", 15, 2) == ""
    rows = wrapped("one two three four five six seven", 14, 80, 2)
    assert len(rows) == 2
    assert max(width_of(row, 14) for row in rows) <= 80
    assert wrapped("你好你好你好你好", 14, 40, 3)
    assert [len(row) for row in facts_rows({f"fact {n}": "value" * 10 for n in range(5)}, 1200)] == [2, 2, 1]


def test_letters_without_a_font_become_the_nearest_that_has_one():
    drawn, _ = lettered("a — b \U0001f642", 15)
    assert drawn in ("a - b ?", "a - b \U0001f642")


def test_scores_without_a_judge_tell_levels_balance_and_leaks():
    soundtrack = stems()
    scores = simple_scores(soundtrack, [(0.5, 1.0)])
    assert scores["spoken_seconds"] == 0.5
    assert scores["speech_over_bed"] > 9
    assert scores["leak"]["background"] < 0.2
    same = Soundtrack(soundtrack.speech, soundtrack.speech)
    assert simple_scores(same, [(0.5, 1.0)])["leak"]["background"] == pytest.approx(1, abs=0.05)
