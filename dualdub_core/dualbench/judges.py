"""What every judge of the benchmark is: it hears one clip at a time, its facts are kept, figures follow from facts.

Facts lie in `heard/<judge>/<id>.safetensors` (tensors, and plain values in the header), so that a run that was killed
goes on, and a set's figure can be computed again from other clips.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import InputError
from ..files import replacing
from ..media.sound import read_audio
from ..types import Audio, Stream
from .figures import Figure
from .systems import MIX, stems_sum, take_file
from .testset import BenchClip

Network = TypeVar("Network")

_FACTS = "facts"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a judge heard in one clip: plain values and tensors by name."""

    values: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """One clip with the take to be judged; sounds are read when first asked for.

    Attributes:
        clip: of the set.
        takes: folder of the takes.
        streams: stems that takes have; without any, what belongs to a stem is asked of the mix.
    """

    clip: BenchClip
    takes: Path
    streams: Sequence[Stream]

    def stem(self, stream: Stream) -> Audio | None:
        """The take's stem; the mix where no stems are known; None where the system makes none of this kind."""
        if not self.streams:
            return self.mix
        return self._read(stream.value) if stream in self.streams else None

    def real(self, stream: Stream) -> Audio:
        """What `stem` is judged against: the real stem, and the real mix for background that is known mixed only."""
        if not self.streams and stream is Stream.BACKGROUND:
            return self.real_mix
        return self.real_stem(stream)

    def real_stem(self, stream: Stream) -> Audio:
        """The set's stem."""
        return read_audio(self.clip.speech if stream is Stream.SPEECH else self.clip.background)

    @property
    def reference(self) -> Audio:
        """The recording of the speaker that systems were given."""
        return read_audio(self.clip.voice)

    @cached_property
    def mix(self) -> Audio:
        """The take's sum."""
        return self._read(MIX)

    @cached_property
    def real_mix(self) -> Audio:
        """The set's sum."""
        return stems_sum([self.real_stem(stream) for stream in Stream])

    def _read(self, what: str) -> Audio:
        path = take_file(self.takes, self.clip.id, what)
        if path is None:
            raise InputError(f"{self.clip.id}: its {what} is gone from {self.takes}; run the benchmark again")
        return read_audio(path)


class Judge(Protocol):
    """One way of listening."""

    key: str
    """Of its folder."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Plain values; facts that were heard with others are heard again."""

    def check(self) -> None:
        """Refuse what is missing before any work.

        Raises:
            DualDubError: weights or a package are not there.
        """

    def hear(self, subject: Subject) -> Facts:
        """Listen to one clip."""

    def figures(self, clips: Sequence[BenchClip], facts: Sequence[Facts], *, draws: int) -> list[Figure]:
        """Figures of a system from the facts of its clips, in the same order."""


class NetworkJudge(Generic[Network]):
    """What judges by one network share: its name, and that it is loaded when it is needed."""

    def __init__(self, load: Callable[[], Network], *, name: str, identity: str = "") -> None:
        """Nothing is loaded yet.

        Args:
            load: gives the network.
            name: of its weights, for people.
            identity: tells these weights from others of the name.
        """
        self._load, self._name, self._identity = load, name, identity

    @property
    def settings(self) -> Mapping[str, Any]:
        """Which weights."""
        return {"judge": self._name, "identity": self._identity}

    def check(self) -> None:
        """Needs nothing more."""

    @cached_property
    def _network(self) -> Network:
        return self._load()


def keep_facts(path: Path, facts: Facts) -> None:
    """Write facts, whole or not at all."""
    with replacing(path) as temporary:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in facts.tensors.items()}
        save_file(tensors, temporary, metadata={_FACTS: json.dumps(dict(facts.values))})


def kept_facts(path: Path) -> Facts | None:
    """Facts that were kept, or None."""
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        values = json.loads(file.metadata()[_FACTS])
        return Facts(values, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118


def next_one(index: int, count: int) -> int | None:
    """The clip whose sound or script a control takes instead: the next; None where there is only one."""
    return (index + 1) % count if count > 1 else None


def heard_in(stream: Stream, streams_known: bool) -> str:
    """Says in a title where a stem's figure was heard."""
    return stream.value if streams_known else f"{stream.value}, heard in the mix"
