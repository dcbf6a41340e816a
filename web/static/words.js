// What the page says: names of stages, hints for refusals, numbers and times for people.

export const STAGES = [
  ["preprocess", "Reading the face"],
  ["geometry", "Shaping the head"],
  ["texture", "Painting the skin"],
  ["packaging", "Packing the files"],
];

const HINTS = {
  not_an_image: "Use a JPEG, PNG, WebP, AVIF, TIFF or HEIC file.",
  image_too_large: "Make the photo smaller and try again.",
  truncated_image: "The file seems to be cut off. Copy it again from where it came.",
  no_face: "Use a photo in which one face is clearly seen from the front.",
  several_faces: "Crop the photo to one person.",
  face_too_small: "Come closer, or use a photo with more pixels.",
  face_turned_away: "Look straight into the camera.",
  face_covered: "Take away hands, masks, dark glasses and hair from the face.",
  landmarks_uncertain: "Take away what hides or distorts the face, shut the mouth and look straight into the camera.",
  face_unclear: "Use a photo in which one face is clearly seen from the front.",
  too_blurred: "Use a sharper photo.",
  too_dark: "Use a photo with more, and even, light.",
  photo_replaced: "Another photo was put in its place while it waited. Upload it again.",
  photo_gone: "The photo was deleted before it was read. Upload it again.",
  view_missing: "Upload the frontal photo first, then the turned one.",
  never_finished: "This photo waited too long and was given up. Please send it again.",
  worker_died: "This photo stopped our worker more than once. Please tell us.",
  engine_unavailable: "The machine that makes heads is not ready. Try again in a while.",
  storage_unavailable: "The storage did not answer. Try again in a while.",
  artifact_unreadable: "Our machines were being changed while it was made. Try again in a while.",
};

const VERDICTS = ["review", "usable", "good"];

export const sortReasons = (reasons) =>
  [...reasons].sort((one, two) => VERDICTS.indexOf(one.verdict) - VERDICTS.indexOf(two.verdict));

export const hintFor = (code) => HINTS[code] || "";

const UNITS = { face_too_small: "px", face_turned_away: "°" };

export function measured(problem, figure) {
  if (figure === null || figure === undefined || figure === "") return null;
  if (typeof figure !== "number") return String(figure);
  if (problem.code === "image_too_large" && Math.abs(figure) >= 1e5) return bytes(figure);
  const write = (value, digits) => value.toLocaleString("en", { maximumFractionDigits: digits });
  let digits = Math.abs(figure) < 10 ? 2 : 0;
  // A value never looks like the limit that it is beyond.
  if (typeof problem.value === "number" && typeof problem.limit === "number" && problem.value !== problem.limit) {
    while (digits < 12 && write(problem.value, digits) === write(problem.limit, digits)) digits += 1;
  }
  const number = write(figure, digits);
  const unit = UNITS[problem.code] || "";
  return unit === "°" ? number + unit : `${number} ${unit}`.trim();
}

// Kinds of photos that are read, though few browsers show them.
const SELDOM_SHOWN = /\.(hei[cf]|avif|tiff?|jp2|j2k|jpx|p[gnp]m|pbm)$/i;

export const unseen = (file) =>
  SELDOM_SHOWN.test(file.name)
    ? "This browser cannot show this kind of photo. We can read it all the same."
    : "This browser cannot show the file as a picture.";

export function bytes(count) {
  if (count < 1e3) return `${count} B`;
  if (count < 1e6) return `${(count / 1e3).toFixed(0)} kB`;
  return `${(count / 1e6).toFixed(count < 1e7 ? 1 : 0)} MB`;
}

export function seconds(value) {
  if (value === null || value === undefined) return "";
  return value < 1 ? `${Math.round(value * 1e3)} ms` : `${value.toFixed(1)} s`;
}

export function ago(text) {
  const past = (Date.now() - Date.parse(text)) / 1e3;
  if (past < 60) return "now";
  if (past < 3600) return `${Math.floor(past / 60)} min`;
  if (past < 86400) return `${Math.floor(past / 3600)} h`;
  return new Date(text).toLocaleDateString("en", { day: "numeric", month: "short" });
}

export const FILE_NOTES = {
  "head.glb": "textured, 52 expressions",
  "head_lod1.glb": "the fitted mesh",
  "head_lod2.glb": "a quarter of its faces",
  "head.obj": "quads",
  "head.mtl": "material of the OBJ",
  "albedo.png": "skin colour, lossless",
  "albedo.webp": "skin colour",
  "albedo.jpg": "skin colour",
  "albedo_eyes.png": "eye colour",
  "albedo_mouth.png": "mouth and teeth",
  "albedo_bust.png": "shoulders, plain skin",
  "albedo_lashes.png": "lashes, with coverage",
  "albedo_lashes_opaque.png": "lash colour, for the OBJ",
  "coverage_lashes.png": "where lashes are, for the OBJ",
  "normal.png": "skin normals, tangent space, +Y up",
  "roughness.png": "skin roughness",
  "ao.png": "ambient occlusion",
  "displacement.png": "depth, 16 bits",
  "preview.png": "photo beside renders, maps, quality",
  "manifest.json": "measurements, licences, timings",
};
