// The head: model-viewer, its expressions, and the UV map taken out of the model's file itself.

const SHAPES = [
  ["Open jaw", ["jawOpen"]],
  ["Smile", ["mouthSmileLeft", "mouthSmileRight"]],
  ["Blink", ["eyeBlinkLeft", "eyeBlinkRight"]],
  ["Raise brows", ["browInnerUp", "browOuterUpLeft", "browOuterUpRight"]],
];

// glTF 2.0, section 4.4: the header, then a chunk's length and kind before its content.
const HEADER_BYTES = 12;
const CHUNK_BYTES = 8;

const SWAY_RADIANS = 0.9;
const SWAY_MS = 14000;

const calm = matchMedia("(prefers-reduced-motion: reduce)");

let library;
const loadLibrary = () => (library ??= import("/static/vendor/model-viewer.min.js"));

/** Fetch a model, once for all that is shown of it; resolves to a Blob. */
export async function fetchHead(url) {
  const [answer] = await Promise.all([fetch(url), loadLibrary()]);
  if (!answer.ok) throw new Error("The head cannot be fetched.");
  return answer.blob();
}

/** Show a model in `place`; resolves to the element once it is loaded. */
export async function showHead(place, model) {
  await loadLibrary();
  const url = URL.createObjectURL(model);
  const element = document.createElement("model-viewer");
  const attributes = {
    src: url,
    alt: "The head, turning. Drag, or use the arrow keys, to look around it.",
    "camera-controls": "",
    "touch-action": "pan-y",
    "interaction-prompt": "none",
    "camera-orbit": "0deg 86deg 105%",
    "min-camera-orbit": "auto auto 40%",
    "shadow-intensity": "0.55",
    "shadow-softness": "1",
    exposure: "1.05",
    "tone-mapping": "neutral",
    "environment-image": "neutral",
  };
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  place.replaceChildren(element);
  await new Promise((resolve, reject) => {
    element.addEventListener("load", resolve, { once: true });
    element.addEventListener("error", () => reject(new Error("The head cannot be shown here.")), { once: true });
  }).finally(() => URL.revokeObjectURL(url));
  clearCorneas(element);
  if (!calm.matches) sway(element);
  return element;
}

/** Make what lets light through solid glass: its file says a thin film, for readers that know no transmission. */
function clearCorneas(element) {
  sceneOf(element)?.traverse(({ material }) => {
    if (!(material?.transmission > 0)) return;
    material.color.setScalar(1);
    material.specularColor.setScalar(1);
    Object.assign(material, { opacity: 1, transparent: false, needsUpdate: true });
  });
}

/** Turn the head slowly from side to side until someone takes hold of it. */
function sway(element) {
  let start;
  let held = false;
  element.addEventListener("camera-change", (event) => (held ||= event.detail.source === "user-interaction"));
  const turn = (now) => {
    if (held || !element.isConnected) return;
    start ??= now;
    element.resetTurntableRotation(SWAY_RADIANS * Math.sin(((now - start) / SWAY_MS) * 2 * Math.PI));
    requestAnimationFrame(turn);
  };
  requestAnimationFrame(turn);
}

/** Fill `form` with sliders for the shapes that the model has; returns whether there are any. */
export function offerShapes(form, element) {
  const meshes = meshesWithShapes(element);
  const rows = [];
  for (const [label, names] of SHAPES) {
    if (!meshes.some((mesh) => names.some((name) => name in mesh.morphTargetDictionary))) continue;
    const row = document.createElement("label");
    const slider = document.createElement("input");
    Object.assign(slider, { type: "range", min: 0, max: 1, step: 0.01, value: 0, name: names[0] });
    slider.addEventListener("input", () => {
      slider.style.setProperty("--value", slider.value);
      setShapes(element, meshes, names, slider.valueAsNumber);
    });
    row.append(label, slider);
    rows.push(row);
  }
  form.replaceChildren(...rows);
  return rows.length > 0;
}

// A head is one mesh, whose materials are meshes of their own here, or a mesh a part: all have the same keys.
function setShapes(element, meshes, names, weight) {
  for (const mesh of meshes) {
    for (const name of names) {
      const index = mesh.morphTargetDictionary[name];
      if (index !== undefined) mesh.morphTargetInfluences[index] = weight;
    }
    applyCorrectives(mesh);
  }
  sceneOf(element).queueRender();
}

/** Give each corrective `A__B` the product of its two keys' weights: what their sum alone gets wrong. */
function applyCorrectives({ morphTargetDictionary: keys, morphTargetInfluences: weights }) {
  for (const [name, index] of Object.entries(keys)) {
    const [one, other] = name.split("__").map((part) => keys[part]);
    if (one !== undefined && other !== undefined) weights[index] = weights[one] * weights[other];
  }
}

// model-viewer has no public way to shapes; its three.js scene lies behind a symbol of this name.
function sceneOf(element) {
  for (let type = element; type; type = Object.getPrototypeOf(type)) {
    const symbol = Object.getOwnPropertySymbols(type).find((entry) => entry.description === "scene");
    if (symbol) return element[symbol];
  }
  return null;
}

function meshesWithShapes(element) {
  const meshes = [];
  sceneOf(element)?.traverse((node) => {
    if (node.morphTargetDictionary && node.morphTargetInfluences) meshes.push(node);
  });
  return meshes;
}

/** Return the file of the skin's texture as it lies in a binary glTF, a Blob, or null: no pixel is made anew. */
export async function skinTexture(model) {
  const lengthAt = (place) => model.slice(place, place + 4).arrayBuffer().then((part) => new DataView(part).getUint32(0, true));
  const start = HEADER_BYTES + CHUNK_BYTES;
  const binary = start + (await lengthAt(HEADER_BYTES)) + CHUNK_BYTES;
  const gltf = JSON.parse(await model.slice(start, binary - CHUNK_BYTES).text());
  const textured = (gltf.materials ?? []).filter((item) => item.pbrMetallicRoughness?.baseColorTexture);
  const skin = textured.find((item) => /skin|head|face/i.test(item.name)) ?? textured[0];
  if (!skin) return null;
  const image = gltf.images[gltf.textures[skin.pbrMetallicRoughness.baseColorTexture.index].source];
  const view = gltf.bufferViews[image.bufferView];
  const place = binary + (view.byteOffset ?? 0);
  return model.slice(place, place + view.byteLength, image.mimeType);
}
