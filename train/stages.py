"""The curriculum as data: three stages, each with the tasks it adds to those before (paper, sections 3.4 and 5.2)."""

from dataclasses import dataclass

from dualdub_core.errors import ConfigError
from dualdub_core.types import Task

TRAINED = (
    "llama.",
    "aligner.",
    "speaker_encoder.",
    "text_embedding.",
    "video_proj.",
    "background_",
    "speech_",
    "heads.",
)
"""Parameters that every stage trains: all of the language model and the aligner. Codec and CLIP are elsewhere."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the curriculum.

    Attributes:
        number: 1 to 3.
        title: the paper's.
        tasks: whose rows are seen, earlier ones kept; each micro-batch has one task.
        trained: beginnings of the names of the parameters that learn.
        min_lr: the paper's, at the start and the end.
        max_lr: the paper's, after the warm-up.
    """

    number: int
    title: str
    tasks: tuple[Task, ...]
    min_lr: float
    max_lr: float
    trained: tuple[str, ...] = TRAINED


STAGES = (
    Stage(1, "video-to-audio foundation", (Task.BACKGROUND,), 2e-6, 2e-4),
    Stage(2, "multimodal specialization", (Task.BACKGROUND, Task.SPEECH), 2e-7, 2e-4),
    Stage(3, "video-to-soundtrack generation", (Task.BACKGROUND, Task.SPEECH, Task.JOINT), 2e-7, 2e-5),
)


def stage_of(number: int) -> Stage:
    """The stage of this number.

    Raises:
        ConfigError: there is none.
    """
    for stage in STAGES:
        if stage.number == number:
            return stage
    raise ConfigError(f"stage: got {number}, expected one of {[stage.number for stage in STAGES]}")
