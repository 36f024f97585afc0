"""How a model's steps are run, set on the model itself once it is loaded."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineConfig:
    """How steps are run.

    Attributes:
        graphs: on a GPU, capture the step of a frame once and replay it; without, or where a captured step does not
            give what the eager one gives, steps run call by call.
    """

    graphs: bool = True
