"""A run while it lasts: players and a picture of what there is so far, on the node that samples it.

The picture goes the way of ComfyUI's latent previews. The sound lies in the temp folder; an event `dualdub.live` says
where, and `web/live.js` plays it.
"""

import re
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io
from server import PromptServer

from ..dualdub_core.media.sound import write_wav
from ..dualdub_core.previews import Draft, Previews, draw_draft
from ..dualdub_core.types import Stream
from . import adapters as a

EVENT = "dualdub.live"
SUBFOLDER = "dualdub_live"


def preview_input() -> io.Boolean.Input:
    """The switch of a node that samples; the last input, since saved workflows know widgets by their place."""
    return io.Boolean.Input(
        "live_preview",
        default=True,
        optional=True,
        tooltip="Play and draw a draft of what there is so far while it is sampled. It changes nothing in the take, "
        "and costs about a tenth of the time at most.",
    )


def codec_of(model: a.Managed, codec: a.Managed | None, *, wanted: bool) -> a.Managed | None:
    """What decodes drafts: the codec that is connected, else the one that came with the model.

    None where there is neither, where drafts are not wanted, and where nobody watches: a script that queues prompts
    without a websocket.
    """
    if not wanted or PromptServer.instance.client_id is None:
        return None
    return model.codec if codec is None else codec


def previews(
    node: type[io.ComfyNode],
    codec: Any,  # noqa: ANN401
    streams: tuple[Stream, ...],
    duration: float | None,
    progress: a.ComfyProgress,
) -> Previews:
    """For one run of a node: shows drafts of the first take.

    Args:
        node: that samples.
        codec: on the device where it runs.
        streams: that are sampled.
        duration: seconds of the clip; None where speech ends on its own.
        progress: of the same run; the picture goes with its reports.
    """
    show = _Show(str(node.hidden.unique_id), progress)
    return Previews(codec, show, streams=streams, duration=duration, progress=a.cancelled)


class _Show:
    """Takes a draft to the browser; only the newest stays in the temp folder."""

    def __init__(self, node_id: str, progress: a.ComfyProgress) -> None:
        self._node_id, self._progress = node_id, progress
        # The number makes every name new, or a browser would play what it has kept.
        self._name = f"{re.sub('[^0-9A-Za-z]', '_', node_id)}_{uuid.uuid4().hex[:8]}"
        self._count, self._files = 0, list[Path]()

    def __call__(self, draft: Draft) -> None:
        self._count += 1
        before, self._files = self._files, []
        for stream in draft.streams:
            path = (
                Path(folder_paths.get_temp_directory()) / SUBFOLDER / f"{self._name}_{self._count}_{stream.value}.wav"
            )
            write_wav(path, draft.stem(stream), subtype="PCM_16")
            self._files.append(path)
        self._progress.picture = draw_draft(draft)
        server = PromptServer.instance
        server.send_sync(EVENT, self._facts(draft), server.client_id)
        for path in before:
            # A browser may be reading it; then it goes with the whole folder when ComfyUI ends.
            with suppress(OSError):
                path.unlink()

    def _facts(self, draft: Draft) -> dict[str, Any]:
        stems = [
            {"stream": stream.value, "filename": path.name, "subfolder": SUBFOLDER, "type": "temp"}
            for stream, path in zip(draft.streams, self._files, strict=True)
        ]
        return {"node": self._node_id, "seconds": draft.seconds, "duration": draft.duration, "stems": stems}
