"""The report of a run for people: one HTML file without scripts from elsewhere, beside it pictures and players' files.

Everything that came with the set or a system (ids, scripts, names) is escaped: it is text, never markup.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from ..audio import to_mono
from ..files import replacing
from ..media.muxing import mux
from ..media.sound import read_audio
from ..media.video import read_frames
from ..progress import Progress, silent
from ..types import Audio, Stream
from .bench import HEARD, PICTURES, TAKES, Results
from .figures import Figure, shown
from .judge_sync import SyncJudge, moments_of
from .judges import kept_facts
from .pictures import Drawing, paint
from .systems import MIX, take_file
from .tables import beside, direction, interval, markdown
from .testset import BenchClip, BenchSet

REPORT, TABLE = "report.html", "table.md"
_PICTURE_SIZE = 72  # pixels of a picture of the film strip

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #1c1c1c; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #ddd; padding: .3rem .6rem; text-align: left; vertical-align: top; }
th { cursor: pointer; min-width: 4.5rem; background: #f4f4f4; }
td:nth-child(3) { min-width: 9rem; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
article { border-top: 2px solid #ddd; margin-top: 1.5rem; padding-top: .5rem; }
article img { max-width: 100%; height: auto; display: block; }
video { max-height: 15rem; background: #000; }
.players { display: flex; flex-wrap: wrap; gap: 1rem; align-items: center; }
.players label { display: block; color: #555; }
"""

_SORT = """
for (const table of document.querySelectorAll('table')) {
  table.querySelectorAll('th').forEach((head, column) => head.addEventListener('click', () => {
    const up = head.dataset.up !== 'yes';
    table.querySelectorAll('th').forEach((other) => { delete other.dataset.up; });
    if (up) head.dataset.up = 'yes';
    const key = (row) => {
      const cell = row.cells[column];
      const value = cell.dataset.value ?? cell.textContent;
      return value === '' || Number.isNaN(Number(value)) ? value : Number(value);
    };
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      const order = typeof x === 'number' && typeof y === 'number' ? x - y : String(x).localeCompare(String(y));
      return up ? order : -order;
    });
    table.tBodies[0].append(...rows);
  }));
}
"""


def write_report(
    results: Results, bench_set: BenchSet, out: Path, *, silent_about: Sequence[str] = (), progress: Progress = silent
) -> None:
    """Write `table.md`, `report.html`, and for every clip its picture and its video with the take's sound.

    Args:
        results: of a run in `out`.
        bench_set: that was judged.
        out: the run's folder.
        silent_about: what was not measured and why, one line each.
        progress: reports "report".
    """
    chosen = set(results.clips)
    clips = [clip for clip in bench_set.clips if clip.id in chosen]
    for done, clip in enumerate(clips, start=1):
        _show(clip, out)
        progress("report", done, len(clips))
    with replacing(out / TABLE) as temporary:
        temporary.write_text(markdown(results) + "\n", encoding="utf-8")
    with replacing(out / REPORT) as temporary:
        temporary.write_text(page(results, clips, out, silent_about), encoding="utf-8")


def page(results: Results, clips: Sequence[BenchClip], out: Path, silent_about: Sequence[str]) -> str:
    """The whole HTML."""
    title = f"DualBench: {escape(results.system)} on {escape(results.set_name)}"
    left_out = f", {len(results.left_out)} without a take left out" if results.left_out else ""
    settings = escape(json.dumps(dict(results.system_settings), ensure_ascii=False))
    by_clip = {figure.key: figure.by_clip for figure in results.figures if figure.parts}
    shown_figures = [figure for figure in results.figures if figure.key in by_clip]
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
            f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>',
            f"<h1>{title}</h1>",
            f"<p>{len(results.clips)} clips{left_out}. Intervals: 95 %, bootstrap over clips. A figure means little "
            "without what stands beside it. Click a column's head to sort.</p>",
            _figures(results.figures),
            *(f"<p>Not measured: {escape(line)}</p>" for line in silent_about),
            f"<p>System: <code>{settings}</code><br>Set: <code>{escape(results.set_sha256)}</code></p>",
            "<h2>Clips</h2>",
            _clips(clips, shown_figures, by_clip),
            *(_card(clip, shown_figures, by_clip, out) for clip in clips),
            f"<script>{_SORT}</script></body></html>",
            "",
        ]
    )


def _figures(figures: Sequence[Figure]) -> str:
    rows = [
        [
            _cell(figure.title),
            _number(figure.estimate.value, figure.unit),
            _cell(interval(figure.estimate)),
            _number(figure.estimate.num_clips),
            _cell(direction(figure)),
            _cell(beside(figure)),
            _cell(figure.tool),
        ]
        for figure in figures
    ]
    return _table(["figure", "value", "95 %", "N", "", "beside it", "measured by"], rows)


def _clips(clips: Sequence[BenchClip], figures: Sequence[Figure], by_clip: Mapping[str, Mapping[str, float]]) -> str:
    rows = []
    for clip in clips:
        values = (by_clip[figure.key].get(clip.id) for figure in figures)
        cells = ("<td></td>" if value is None else _number(value) for value in values)
        link = f'<td data-value="{escape(clip.id)}"><a href="#{escape(clip.id)}">{escape(clip.id)}</a></td>'
        rows.append([link, _number(clip.duration), _cell(clip.script), *cells])
    return _table(["clip", "seconds", "script", *(_with_unit(figure) for figure in figures)], rows)


def _card(clip: BenchClip, figures: Sequence[Figure], by_clip: Mapping[str, Mapping[str, float]], out: Path) -> str:
    scores = [
        f"{escape(figure.title)} {shown(by_clip[figure.key][clip.id], figure.unit)}"
        for figure in figures
        if clip.id in by_clip[figure.key]
    ]
    players = [(what, take_file(out / TAKES, clip.id, what)) for what in (MIX, *(stream.value for stream in Stream))]
    players += [("real speech", clip.speech), ("real background", clip.background), ("voice", clip.voice)]
    video = _relative(out / TAKES / f"{clip.id}.mp4", out)
    return "\n".join(
        [
            f'<article id="{escape(clip.id)}"><h3>{escape(clip.id)}</h3><p>{escape(clip.script)}</p>',
            f'<img loading="lazy" alt="waves and spectrogram" src="{_relative(_picture(out, clip), out)}">',
            f'<div class="players"><video controls preload="none" src="{video}"></video>',
            *(
                f'<label>{escape(what)}<br><audio controls preload="none" src="{_relative(path, out)}"></audio></label>'
                for what, path in players
                if path is not None
            ),
            f"</div><p>{'; '.join(scores)}</p></article>",
        ]
    )


def _show(clip: BenchClip, out: Path) -> None:
    """Paint the clip and lay the take under its video; what is there stays."""
    picture, video = _picture(out, clip), out / TAKES / f"{clip.id}.mp4"
    mix = take_file(out / TAKES, clip.id, MIX)
    assert mix is not None
    sound = read_audio(mix)
    if not picture.is_file():
        facts = kept_facts(out / HEARD / SyncJudge.key / f"{clip.id}.safetensors")
        stems = {stream.value: take_file(out / TAKES, clip.id, stream.value) for stream in Stream}
        sounds: dict[str, Audio] = {name: read_audio(path) for name, path in stems.items() if path is not None}
        drawing = Drawing(
            title=f"{clip.id}   {clip.script}",
            duration=clip.duration,
            sounds=sounds or {MIX: sound},
            mix=sound,
            frames=read_frames(clip.video, size=_PICTURE_SIZE),
            moments=None if facts is None else moments_of(facts, MIX),
        )
        with replacing(picture) as temporary:
            paint(drawing).save(temporary)
    if not video.is_file():
        mux(clip.video, sound if sound.waveform.shape[1] <= 2 else to_mono(sound), video)


def _picture(out: Path, clip: BenchClip) -> Path:
    return out / PICTURES / f"{clip.id}.png"


def _relative(path: Path, out: Path) -> str:
    """For an attribute: how the report finds a file."""
    return escape(quote(Path(os.path.relpath(path, out)).as_posix()))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "\n".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _cell(text: str) -> str:
    return f"<td>{escape(text)}</td>"


def _number(value: float, unit: str = "") -> str:
    text = str(value) if isinstance(value, int) else shown(value, unit)
    return f'<td class="number" data-value="{"" if math.isnan(value) else value}">{escape(text)}</td>'


def _with_unit(figure: Figure) -> str:
    return f"{figure.title}, {figure.unit}" if figure.unit else figure.title
