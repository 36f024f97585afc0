"""What a run measured: a line of JSON for each time it was asked, and none of updates that a kill undid."""

import json
from collections.abc import Mapping
from pathlib import Path

from dualdub_core.files import replacing


class Journal:
    """`metrics.jsonl` of a run."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def cut(self, update: int) -> None:
        """Forget what was written after an update; the run goes on from there and writes it again."""
        if not self._path.is_file():
            return
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["update"] <= update]
        if kept != lines:
            with replacing(self._path) as temporary:
                temporary.write_text("".join(kept), encoding="utf-8")

    def add(self, update: int, values: Mapping[str, float]) -> None:
        """Write a line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"update": update, **values}) + "\n")
