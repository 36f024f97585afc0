import { app } from "../../scripts/app.js";

// ComfyUI gives its own audio nodes a player and an upload button by their names; these ask for the same.
const WITH_PLAYER = ["DualDub_LoadAudio", "DualDub_MixStems", "DualDub_MasterStems"];
const WITH_UPLOAD = ["DualDub_LoadAudio"];

app.registerExtension({
  name: "DualDub.AudioWidgets",
  beforeRegisterNodeDef(_nodeType, nodeData) {
    const required = nodeData.input?.required;
    if (!required) return;
    if (WITH_PLAYER.includes(nodeData.name)) required.audioUI = ["AUDIO_UI", {}];
    if (WITH_UPLOAD.includes(nodeData.name)) required.upload = ["AUDIOUPLOAD", {}];
  },
});
