"""The plan of a script as a picture: a row a line on the clip's time axis."""

from PIL import Image, ImageDraw, ImageFont

from .plan import Plan, Verdict
from .script import stamp

_WIDTH, _ROW, _MARGIN, _HEAD = 960, 24, 12, 28
_TEXT_FROM = 5  # pixels inside a row
_PAPER, _INK, _FAINT, _SLOT = (24, 26, 30), (226, 228, 232), (70, 74, 82), (52, 58, 70)
_COLOURS: dict[Verdict, tuple[int, int, int]] = {
    "fits": (74, 148, 98),
    "tight": (196, 150, 56),
    "too long": (190, 74, 68),
}
_MOST_ROWS = 60
_STEPS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0)


def draw_plan(plan: Plan) -> Image.Image:
    """Slots in grey and, in them, the time that the words need: green fits, amber in a hurry, red does not fit.

    Returns:
        An RGB picture, 960 pixels wide and as high as there are lines, at most 60.
    """
    shown = plan.lines[:_MOST_ROWS]
    left_out = len(plan.lines) - len(shown)
    picture = Image.new("RGB", (_WIDTH, _HEAD + _ROW * (len(shown) + bool(left_out)) + _MARGIN), _PAPER)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default()
    scale = (_WIDTH - 2 * _MARGIN) / plan.duration

    def x(seconds: float) -> float:
        return _MARGIN + min(seconds, plan.duration) * scale

    step = next((s for s in _STEPS if plan.duration / s <= 10), _STEPS[-1])
    for tick in range(int(plan.duration / step) + 1):
        draw.line([(x(tick * step), _HEAD - 6), (x(tick * step), picture.height - _MARGIN)], fill=_FAINT)
        draw.text((x(tick * step) + 2, 6), stamp(tick * step, hours=False)[:-2], fill=_INK, font=font)
    for row, line in enumerate(shown):
        top = _HEAD + row * _ROW
        draw.rectangle([x(line.start), top + 2, x(line.end), top + _ROW - 3], fill=_SLOT)
        colour = _COLOURS[line.verdict]
        draw.rectangle([x(line.start), top + 2, x(line.start + line.needs), top + _ROW - 3], outline=colour, width=2)
        draw.rectangle([x(line.start), top + 2, x(line.start) + 3, top + _ROW - 3], fill=colour)
        name = f"{line.speaker}: " if line.speaker else ""
        draw.text((x(line.start) + 8, top + _TEXT_FROM), f"{line.number} {name}{line.text}", fill=_INK, font=font)
    if left_out:
        draw.text((_MARGIN, _HEAD + len(shown) * _ROW + _TEXT_FROM), f"and {left_out} more", fill=_INK, font=font)
    return picture
