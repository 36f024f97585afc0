"""Labels in English and Chinese: one for each node, input and output, and ComfyUI serves them.

`DUALDUB_UPDATE=1` adds what is missing: English from the schemas, Chinese where the same name is translated already.
"""

import json
import os
from pathlib import Path

import pytest

PACK = Path(__file__).parents[2]
SCHEMAS = Path(__file__).parent / "schemas.json"
LANGUAGES = ("en", "zh")


def wanted() -> dict[str, dict[str, dict[str, str]]]:
    """For each node the names of its inputs, and of its outputs by their number."""
    return {
        node: {
            "inputs": {entry["name"]: entry["name"] for entry in schema["inputs"]},
            "outputs": {str(i): out.split(":")[0] for i, out in enumerate(schema["outputs"])},
        }
        for node, schema in json.loads(SCHEMAS.read_text()).items()
    }


def labels(language: str) -> dict:
    return json.loads((PACK / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))


def title_of(node: str) -> str:
    return (PACK / "nodes/web/docs" / f"{node}.md").read_text(encoding="utf-8").split("\n", maxsplit=1)[0][2:]


@pytest.fixture(scope="module", autouse=True)
def _updated():
    if not os.environ.get("DUALDUB_UPDATE"):
        return
    for language in LANGUAGES:
        known = labels(language)
        words = {key: label["name"] for node in known.values() for key, label in node["inputs"].items()}
        for node, sides in wanted().items():
            entry = known.setdefault(node, {"inputs": {}, "outputs": {}})
            if language == "en":
                entry.setdefault("display_name", title_of(node))
            for side, names in sides.items():
                entry[side] = {key: entry[side][key] for key in names if key in entry[side]}
                for key, name in names.items():
                    label = name.replace("_", " ") if language == "en" else words.get(name)
                    if label is not None:
                        entry[side].setdefault(key, {"name": label})
        kept = {node: known[node] for node in sorted(wanted())}
        path = PACK / "locales" / language / "nodeDefs.json"
        path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_node_input_and_output_has_a_label(language):
    given, missing = labels(language), []
    for node, sides in wanted().items():
        entry = given.get(node, {})
        missing += [] if entry.get("display_name") else [node]
        for side, names in sides.items():
            missing += [f"{node}.{side}.{key}" for key in names if not entry.get(side, {}).get(key, {}).get("name")]
    assert not missing


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_label_is_left_over(language):
    given, nodes = labels(language), wanted()
    assert set(given) <= set(nodes)
    left = [f"{n}.{s}.{k}" for n in given for s in ("inputs", "outputs") for k in given[n][s] if k not in nodes[n][s]]
    assert not left


def test_english_titles_are_the_schemas_own():
    assert {node: entry["display_name"] for node, entry in labels("en").items()} == {
        node: title_of(node) for node in wanted()
    }


def test_chinese_titles_and_descriptions_are_chinese():
    for node, entry in labels("zh").items():
        for text in (entry["display_name"], entry.get("description", "")):
            assert any("一" <= letter <= "鿿" for letter in text), node


@pytest.mark.comfy
@pytest.mark.slow
def test_comfyui_serves_the_labels(comfy):
    served = comfy.get("/i18n")
    for language in LANGUAGES:
        assert served[language]["nodeDefs"] == labels(language)
        assert served[language]["nodeCategories"]["dualdub"] == "DualDub"
