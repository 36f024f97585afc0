"""The fault table: `python tests/faults/table.py` runs every case and counts them by family."""

import sys
from collections import Counter
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
FAMILIES = {
    "test_films": "films and parts of them, refused",
    "test_odd_films": "odd films, exact length",
    "test_sounds": "sounds, refused or exact length",
    "test_scripts": "scripts, captions, lists",
    "test_models": "checkpoints",
    "test_pickles": "published weights in pickles",
    "test_keepsakes": "kept codes and voices",
    "test_settings": "settings",
    "test_graphs": "graphs",
    "test_properties": "properties",
}


class Counts:
    """Outcomes of a run by family, and the rows of the tables apart from those who read them."""

    def __init__(self) -> None:
        self.cases: Counter[str] = Counter()
        self.outcomes: Counter[tuple[str, str]] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and not (report.skipped or report.failed):
            return
        family = Path(report.nodeid.split("::")[0]).stem
        self.cases[family] += 1
        self.outcomes[family, report.outcome] += 1

    def table(self) -> str:
        rows = [f"{'family':36}{'cases':>7}{'passed':>8}{'failed':>8}{'skipped':>9}"]
        for family, count in [*sorted(self.cases.items()), ("all", sum(self.cases.values()))]:
            told = [
                sum(n for (name, kind), n in self.outcomes.items() if kind == outcome and family in (name, "all"))
                for outcome in ("passed", "failed", "skipped")
            ]
            rows.append(f"{FAMILIES.get(family, family):36}{count:>7}{told[0]:>8}{told[1]:>8}{told[2]:>9}")
        return "\n".join(rows)


if __name__ == "__main__":
    counts = Counts()
    failed = pytest.main([str(FOLDER), "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider"], plugins=[counts])
    print(f"\n{counts.table()}")
    sys.exit(failed)
