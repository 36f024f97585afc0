import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

// While a take is sampled the server says where drafts of its stems lie; the node that samples them gets a player each.
const WIDGET = "dualdub_live";
const ROW = 34;

// Nodes inside of subgraphs have ids such as 8:3, the way to them.
function nodeById(id) {
  const steps = String(id).split(":");
  let graph = app.rootGraph ?? app.graph;
  for (const step of steps.slice(0, -1)) graph = graph?.getNodeById(Number(step))?.subgraph;
  const last = steps.at(-1);
  return graph?.getNodeById(Number.isNaN(Number(last)) ? last : Number(last));
}

function playersOf(node) {
  const known = node.widgets?.find((widget) => widget.name === WIDGET);
  if (known) return known.element;
  const element = document.createElement("div");
  element.style.cssText = "display:flex;flex-direction:column;gap:4px;font:12px sans-serif;color:var(--input-text,#ddd)";
  const widget = node.addDOMWidget(WIDGET, WIDGET, element, {
    serialize: false,
    getValue: () => "",
    setValue: () => {},
    getMinHeight: () => ROW * Math.max(1, element.childElementCount) + 4,
    getMaxHeight: () => ROW * Math.max(1, element.childElementCount) + 4,
  });
  widget.serialize = false; // the widgets of a saved workflow stay what they were
  return element;
}

function rowOf(element, stream) {
  const known = element.querySelector(`[data-stream="${stream}"]`);
  if (known) return known;
  const row = document.createElement("label");
  row.dataset.stream = stream;
  row.style.cssText = "display:flex;align-items:center;gap:6px;height:30px";
  const name = document.createElement("span");
  name.textContent = stream;
  name.style.cssText = "flex:0 0 76px";
  const audio = document.createElement("audio");
  audio.controls = true;
  audio.preload = "auto";
  audio.style.cssText = "flex:1;min-width:0;height:28px";
  row.append(name, audio);
  element.append(row);
  return row;
}

// A longer draft in place of a shorter one: who listens goes on where he was.
function replaceSound(audio, url) {
  const { currentTime, paused, ended } = audio;
  audio.addEventListener(
    "loadedmetadata",
    () => {
      if (currentTime > 0) audio.currentTime = Math.min(currentTime, audio.duration);
      if (currentTime > 0 && (!paused || ended)) audio.play().catch(() => {});
    },
    { once: true },
  );
  audio.src = url;
}

function show({ node: id, seconds, duration, stems }) {
  const node = nodeById(id);
  if (!node?.comfyClass?.startsWith("DualDub_")) return; // another workflow is open by now
  const element = playersOf(node);
  const wanted = stems.map(({ stream }) => stream);
  for (const row of [...element.children]) if (!wanted.includes(row.dataset.stream)) row.remove();
  for (const { stream, filename, subfolder, type } of stems) {
    const row = rowOf(element, stream);
    row.title = `draft, ${seconds.toFixed(1)} s${duration ? ` of ${duration.toFixed(1)} s` : ""}`;
    const query = new URLSearchParams({ filename, subfolder, type });
    replaceSound(row.querySelector("audio"), api.apiURL(`/view?${query}`));
  }
  const [width, height] = node.computeSize();
  node.setSize([Math.max(node.size[0], width, 280), Math.max(node.size[1], height)]);
  node.setDirtyCanvas?.(true, true);
}

app.registerExtension({
  name: "DualDub.Live",
  setup() {
    api.addEventListener("dualdub.live", ({ detail }) => show(detail));
  },
});
