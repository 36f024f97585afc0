"""What a mix came to in figures: for JSON and for people."""

import math
from collections.abc import Sequence
from typing import Any

from ..types import Soundtrack
from .k_weighting import loudness_range, lufs_over
from .loudness import integrated_lufs, true_peak_db
from .mixing import MixConfig, Mixed


def stem_figures(soundtrack: Soundtrack, spoken: Sequence[Sequence[tuple[float, float]]]) -> list[dict[str, Any]]:
    """Levels of two stems and of their sum, a dict for each item; null where silence or too little has none.

    Args:
        soundtrack: the stems.
        spoken: for each item, seconds in which somebody is heard.

    Raises:
        InputError: a stem is empty or has samples that are not finite.
    """
    rate, total = soundtrack.sample_rate, soundtrack.sum()
    sounds = {"mix": total, "speech": soundtrack.speech, "background": soundtrack.background}
    lufs = {name: integrated_lufs(sound).tolist() for name, sound in sounds.items()}
    peaks = {name: true_peak_db(sound).tolist() for name, sound in sounds.items()}
    ranges = loudness_range(total).tolist()
    figures = []
    for item, spans in enumerate(spoken):
        over = {name: lufs_over(sound.waveform[item], rate, spans) for name, sound in sounds.items()}
        figures.append(
            {
                "lufs": {name: rounded(values[item]) for name, values in lufs.items()},
                "true_peak_db": {name: rounded(values[item]) for name, values in peaks.items()},
                "loudness_range": rounded(ranges[item]),
                "dialogue_lufs": rounded(over["mix"]),
                "speech_over_bed": rounded(over["speech"] - over["background"]),
                "spoken_seconds": round(sum(end - start for start, end in spans), 3),
            }
        )
    return figures


def mix_report(mixed: Mixed, config: MixConfig) -> list[dict[str, Any]]:
    """All figures of a mix, a dict for each item: as measured, as asked for, and what was done to get there."""
    soundtrack = Soundtrack(mixed.speech, mixed.background)
    measured = stem_figures(soundtrack, [item.spoken for item in mixed.items])
    return [
        {
            **found,
            "target": {
                "lufs": config.target_lufs,
                "over": config.target_over,
                "ceiling_db": config.ceiling_db,
                "speech_over_bed": config.speech_over_bed,
            },
            "unreached": list(item.unreached),
            "gain_db": {"speech": rounded(item.speech_gain_db), "background": rounded(item.background_gain_db)},
            "ducking_db": rounded(item.ducking_db),
            "limiter_db": rounded(reduction),
            "spoken": [[round(start, 3), round(end, 3)] for start, end in item.spoken],
            "spoken_from": "script" if item.is_known else "energy",
        }
        for found, item, reduction in zip(measured, mixed.items, mixed.gain_reduction_db.tolist(), strict=True)
    ]


def report_text(report: dict[str, Any]) -> str:
    """One item's report for people, in two or more lines."""
    target, lufs = report["target"], report["lufs"]["mix"]
    asked = "" if target["lufs"] is None else f" (asked {target['lufs']:g} over the {target['over']})"
    over = target["over"] == "speech"
    level = f"{_shown(report['dialogue_lufs'])} LUFS over speech, {_shown(lufs)}" if over else _shown(lufs)
    lines = [
        f"{level} LUFS{asked}, true peak {_shown(report['true_peak_db']['mix'])} dBTP (at most "
        f"{target['ceiling_db']:g}), range {_shown(report['loudness_range'])} LU, limiter "
        + (f"up to {report['limiter_db']:.1f} dB" if report["limiter_db"] else "off")
    ]
    spans = len(report["spoken"])
    lines.append(
        f"speech is {_shown(report['speech_over_bed'])} LU over the background while somebody speaks "
        f"({report['spoken_seconds']:.1f} s in {spans} span{'' if spans == 1 else 's'}, known by "
        f"{report['spoken_from']}), ducked by {report['ducking_db']:.1f} dB"
    )
    gains = report["gain_db"]
    lines.append(f"gain: speech {gains['speech']:+.1f} dB, background {gains['background']:+.1f} dB")
    return "\n".join([*lines, *(f"not reached - {reason}" for reason in report["unreached"])])


def rounded(value: float) -> float | None:
    """Two decimals, null for what is no number: JSON has no infinity."""
    return round(value, 2) if math.isfinite(value) else None


def _shown(value: float | None) -> str:
    return "no" if value is None else f"{value:.1f}"
