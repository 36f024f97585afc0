"""What can be said of any take without a network and without its video: levels, balance and leaks."""

from collections.abc import Sequence
from typing import Any

from ..dualbench.leak import joint_loudness, leaked_share
from ..mixing.report import rounded, stem_figures
from ..types import Soundtrack


def simple_scores(soundtrack: Soundtrack, spoken: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Figures of one take for a sheet, in groups; null where silence or too little has none.

    Args:
        soundtrack: one item.
        spoken: seconds in which somebody is heard.

    Raises:
        InputError: a stem is empty or has samples that are not finite, or there are several items.
    """
    stems = (soundtrack.speech, soundtrack.background)
    shares = {"background": leaked_share(*stems), "speech": leaked_share(*reversed(stems))}
    leak = {name: rounded(share) for name, share in shares.items()}
    (figures,) = stem_figures(soundtrack, [spoken])
    return {**figures, "leak": {**leak, "joint_loudness": rounded(joint_loudness(*stems))}}
