"""Nodes that make the items of a batch: all combinations of lists, and the rows of a table.

What is wrong with an item is found here, where it can be left out and told; the others run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..dualdub_core.artifacts import load_voice
from ..dualdub_core.batch import Item, parse_seeds, parse_table, safe_name
from ..dualdub_core.errors import DualDubError, InputError
from ..dualdub_core.media.sound import clip_length, probe, read_audio
from ..dualdub_core.scripts.formats import parse_script, read_script
from ..dualdub_core.scripts.plan import plan_script
from ..dualdub_core.scripts.script import Script
from ..dualdub_core.types import Voice
from ..dualdub_core.voice import encode_voice
from . import adapters as a
from . import folders, scripts
from .lists import CATEGORY

EVERY, SIDE_BY_SIDE = "every combination", "side by side"
COLUMNS = ("name", "video", "script", "voice", "seed")


class BatchGrid(io.ComfyNode):
    """Lists to items with names."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_BatchGrid",
            display_name="Batch Grid (DualDub)",
            category=CATEGORY,
            description="Combines lists of videos, scripts, voices and seeds into items, each with a name that is the "
            "same every time. An item whose script does not fit its video is left out and told; the others run.",
            search_aliases=["batch", "combinations", "matrix", "cross product", "xy plot", "file names", "queue"],
            inputs=[
                io.String.Input(
                    "prefix", default="dualdub/batch", tooltip="Where in the output folder, and how names begin."
                ),
                io.Combo.Input(
                    "combine",
                    options=[EVERY, SIDE_BY_SIDE],
                    tooltip="Every video with every script, voice and seed; or the first with the first, and so on.",
                ),
                io.Video.Input("videos", optional=True, tooltip="From Video List."),
                io.String.Input(
                    "names", optional=True, force_input=True, tooltip="Of the videos, from Video List, for the files."
                ),
                scripts.ScriptSocket.Input("scripts", optional=True, tooltip="From Script List."),
                a.VoiceSocket.Input("voices", optional=True, tooltip="From Voice List."),
                io.Int.Input("seeds", optional=True, force_input=True, tooltip="From Seed List."),
            ],
            outputs=[
                io.Video.Output("VIDEO", is_output_list=True, tooltip="Of each item."),
                scripts.ScriptSocket.Output("script", is_output_list=True, tooltip="Of each item."),
                io.String.Output("text", is_output_list=True, tooltip="The script's words."),
                a.VoiceSocket.Output("voice", is_output_list=True, tooltip="Of each item."),
                io.Int.Output("seed", is_output_list=True, tooltip="Of each item."),
                io.String.Output("filename_prefix", is_output_list=True, tooltip="For the nodes that save."),
                io.String.Output("report", tooltip="The items, and why some are left out."),
            ],
            hidden=[io.Hidden.unique_id],
            is_input_list=True,
        )

    @classmethod
    def execute(
        cls,
        prefix: list[str],
        combine: list[str],
        videos: list[Any] | None = None,
        names: list[str] | None = None,
        scripts: list[Script] | None = None,
        voices: list[Voice] | None = None,
        seeds: list[int] | None = None,
    ) -> io.NodeOutput:
        """Combine."""
        axes = _axes(videos, names, scripts, voices, seeds)
        if not axes:
            raise InputError("batch grid: nothing is connected; connect videos, scripts, voices or seeds")
        cells = [_cell(prefix[0], dict(zip(axes, row, strict=True))) for row in _rows(axes, combine[0])]
        problems = [_problem(cell) for cell in cells]
        report = "\n".join(
            f"{cell.name}: left out: {why}" if why else cell.name for cell, why in zip(cells, problems, strict=True)
        )
        if all(problems):
            raise InputError(f"batch grid: no item can be made; {cells[0].name}: {problems[0]}")
        rows = [_outputs(cell, why) for cell, why in zip(cells, problems, strict=True)]
        return io.NodeOutput(*(list(column) for column in zip(*rows, strict=True)), report, ui=a.said(cls, report))


class BatchRow(io.ComfyNode):
    """A row of a table to what it names."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_BatchRow",
            display_name="Batch Row (DualDub)",
            category=CATEGORY,
            description="One row of a CSV table. Set ComfyUI's number of runs to the number of rows: the row counts up "
            "by itself, each row is a run of its own in the queue, and one that fails does not stop the others.",
            search_aliases=["csv", "spreadsheet", "table", "queue", "batch", "row by row"],
            inputs=[
                io.String.Input(
                    "table",
                    multiline=True,
                    dynamic_prompts=False,
                    default="name,video,script,voice,seed\n",
                    tooltip="CSV with a header. Columns: name, video, script, voice (recording or kept voice), seed. "
                    "Files are those of ComfyUI's input folder; a script @lines.srt is read there too.",
                ),
                io.Int.Input(
                    "row",
                    default=1,
                    min=1,
                    max=10_000,
                    control_after_generate=io.ControlAfterGenerate.increment,
                    tooltip="Counted from 1.",
                ),
                io.String.Input("prefix", default="dualdub/batch", tooltip="Where in the output folder."),
                a.Model.Input("model", optional=True, tooltip="Hears recordings in the column voice."),
            ],
            outputs=[
                io.Video.Output("VIDEO", tooltip="Of the row."),
                scripts.ScriptSocket.Output("script", tooltip="Of the row."),
                io.String.Output("text", tooltip="The script's words."),
                a.VoiceSocket.Output("voice", tooltip="Of the row."),
                io.Int.Output("seed", tooltip="Of the row; 0 without one."),
                io.String.Output("filename_prefix", tooltip="For the nodes that save: prefix and name."),
                io.Int.Output("rows", tooltip="Rows of the table: as many runs to queue."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, table: str, row: int, prefix: str) -> str:  # noqa: ARG003
        """Runs again when a file of the row changes."""
        cells = parse_table(table)[row - 1].values
        names = [cells.get("video"), cells.get("voice"), cells.get("script", "").removeprefix("@")]
        return "\n".join(folders.fingerprint(_named_file(name)) for name in names if name)

    @classmethod
    def execute(cls, table: str, row: int, prefix: str, model: a.Managed | None = None) -> io.NodeOutput:
        """Read the row."""
        items = parse_table(table)
        if not 1 <= row <= len(items):
            raise InputError(f"batch row: got row {row}, but the table has {len(items)}; the batch is over")
        item = items[row - 1]
        unknown = sorted(set(item.values) - set(COLUMNS))
        if unknown:
            raise InputError(f"batch row: unknown column '{unknown[0]}'; known are {', '.join(COLUMNS)}")
        seed = parse_seeds(item.values.get("seed", "0"))
        script = _script(item)
        video = item.values.get("video")
        name = f"{prefix.rstrip('/')}/{item.name}"
        a.said(cls, f"{row} of {len(items)}: {item.name}")
        return io.NodeOutput(
            _absent("video") if video is None else a.from_clip(folders.input_path(video)),
            _absent("script") if script is None else script,
            _absent("script") if script is None else script.text,
            _voice(item, model),
            seed[0],
            name,
            len(items),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cell:
    """One item of a grid."""

    name: str
    video: Any = None
    script: Script | None = None
    voice: Voice | None = None
    seed: int | None = None


def _axes(
    videos: Sequence[Any] | None,
    names: Sequence[str] | None,
    texts: Sequence[Script] | None,
    voices: Sequence[Voice] | None,
    seeds: Sequence[int] | None,
) -> dict[str, list[tuple[str, Any]]]:
    """For each connected list its items, with what each adds to a name."""
    if videos is not None and names is not None and len(names) != len(videos):
        raise InputError(f"batch grid: got {len(videos)} videos and {len(names)} names, expected as many of each")
    axes: dict[str, list[tuple[str, Any]]] = {}
    if videos is not None:
        axes["video"] = [(names[i] if names else f"video{i + 1}", video) for i, video in enumerate(videos)]
    if texts is not None:
        axes["script"] = [(f"script{number}", script) for number, script in enumerate(texts, start=1)]
    if voices is not None:
        axes["voice"] = [(voice.name or f"voice{number}", voice) for number, voice in enumerate(voices, start=1)]
    if seeds is not None:
        axes["seed"] = [(f"seed{seed}", seed) for seed in seeds]
    return axes


def _rows(axes: dict[str, list[tuple[str, Any]]], combine: str) -> list[tuple[Any, ...]]:
    if combine == EVERY:
        return list(product(*axes.values()))
    counts = {name: len(items) for name, items in axes.items()}
    longest = max(counts.values())
    if set(counts.values()) - {1, longest}:
        told = ", ".join(f"{count} {name}s" for name, count in counts.items())
        raise InputError(f"batch grid: got {told} side by side, expected as many of each, or one for all")
    return list(zip(*(items * (longest // len(items)) for items in axes.values()), strict=True))


def _cell(prefix: str, row: dict[str, tuple[str, Any]]) -> _Cell:
    name = safe_name("_".join(part.replace(" ", "_") for part, _ in row.values()))
    return _Cell(name=f"{prefix.rstrip('/')}/{name}", **{axis: value for axis, (_, value) in row.items()})


def _problem(cell: _Cell) -> str:
    """Why an item cannot be made; empty where it can."""
    try:
        seconds = None
        if cell.video is not None:
            clip = a.to_clip(cell.video)
            seconds = clip_length(probe(clip.source).duration, clip.start, clip.duration, "video")
        if cell.script is not None:
            plan_script(cell.script, seconds)
    except DualDubError as error:
        return str(error)
    return ""


def _outputs(cell: _Cell, problem: str) -> tuple[Any, ...]:
    if problem:
        return (ExecutionBlocker(None),) * 6
    text = None if cell.script is None else cell.script.text
    values = {"video": cell.video, "script": cell.script, "text": text, "voice": cell.voice, "seed": cell.seed}
    return (*(_absent(name) if value is None else value for name, value in values.items()), cell.name)


def _absent(what: str) -> ExecutionBlocker:
    """In place of a value that was not given: whatever needs it says so and does not run."""
    return ExecutionBlocker(f"batch: there is no {what}; connect or name one, or leave this output unconnected")


def _named_file(name: str) -> Path:
    """The file that a cell may mean; a missing one is for `execute` to complain of."""
    return Path(folder_paths.get_input_directory()) / Path(name.split("\n", maxsplit=1)[0]).name


def _script(item: Item) -> Script | None:
    text = item.values.get("script")
    if text is None:
        return None
    return read_script(folders.input_path(text[1:])) if text.startswith("@") else parse_script(text)


def _voice(item: Item, model: a.Managed | None) -> Any:  # noqa: ANN401
    name = item.values.get("voice")
    if name is None:
        return _absent("voice")
    if name in folders.voice_names() or f"{name}.safetensors" in folders.voice_names():
        return load_voice(folders.voice_path(name if name.endswith(".safetensors") else f"{name}.safetensors"))
    if model is None:
        raise InputError(f"batch row: the voice {name} is a recording; connect the model that listens to it")
    (network,) = a.on_device(model=model)
    return encode_voice(network, read_audio(folders.input_path(name)), name=Path(name).stem)
