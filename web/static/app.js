// The studio: one photo in, one head out. `data-view` on the body is the state:
// empty -> chosen -> running -> ready | failed.

import { createJob, followJob, getJob, listJobs, readJson, Refusal } from "/static/api.js";
import { ago, bytes, FILE_NOTES, hintFor, measured, seconds, sortReasons, STAGES, unseen } from "/static/words.js";
import { fetchHead, offerShapes, showHead, skinTexture } from "/static/viewer.js";

const TERMINAL = new Set(["ready", "failed", "cancelled", "erased"]);
const RECENT = 12;
const RECENT_EVERY_MS = 6000;

const at = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

const state = { photo: null, photoUrl: null, textureUrl: null, job: null, stop: () => {}, shown: null, names: new Map() };

function show(view, headline, subline) {
  document.body.dataset.view = view;
  at("headline").textContent = headline;
  at("subline").textContent = subline;
  at("refusal").hidden = view !== "failed";
  at("files").hidden = view !== "ready";
  const go = at("go");
  go.hidden = view === "running" || view === "failed";
  go.textContent = { chosen: "Make the head", ready: "Make another head" }[view] ?? "Choose a photo";
  at("other").hidden = !["chosen", "failed", "running"].includes(view);
  at("other").textContent = view === "running" ? "Start over with another photo" : "Choose another photo";
}

function say(text) {
  if (at("live").textContent !== text) at("live").textContent = text;
}

// -- photo

function choosePhoto(photo) {
  if (!photo) return;
  forgetJob();
  state.photo = photo;
  if (state.photoUrl) URL.revokeObjectURL(state.photoUrl);
  state.photoUrl = URL.createObjectURL(photo);
  at("photo-shown").src = state.photoUrl;
  drawStages([]);
  show("chosen", "Ready when you are", `${bytes(photo.size)}. One press, and the head is on its way.`);
  at("go").focus({ preventScroll: true });
}

function forgetJob() {
  state.stop();
  state.job = null;
  state.shown = null;
  at("viewer").replaceChildren();
  at("uv").hidden = at("shapes").hidden = true;
  if (location.hash) history.replaceState(null, "", location.pathname);
  markRecent();
}

async function start() {
  const options = {};
  for (const field of at("options").querySelectorAll("[name]")) options[field.name] = field.value.trim();
  const { photo } = state;
  drawStages([]);
  show("running", "Sending the photo", "");
  try {
    const job = await createJob(photo, options, (part) => {
      at("subline").textContent = `${Math.round(part * 100)} % sent`;
    });
    state.names.set(job.id, photo.name);
    followNew(job);
  } catch (error) {
    fail(error instanceof Refusal ? error.problem : { message: "Something went wrong in this page." });
  }
}

// -- job

function followNew(job) {
  history.replaceState(null, "", `#${job.id}`);
  draw(job);
  if (!TERMINAL.has(job.state)) state.stop = followJob(job.id, (next) => next.id === state.job?.id && draw(next));
  refreshRecent();
}

async function openJob(id) {
  forgetJob();
  state.photo = null;
  at("photo-shown").removeAttribute("src");
  try {
    followNew(await getJob(id));
  } catch (error) {
    drawStages([]);
    fail(error.problem ?? { message: "That head cannot be opened." });
  }
}

function draw(job) {
  const ended = TERMINAL.has(job.state) && !TERMINAL.has(state.job?.state);
  state.job = job;
  drawStages(job.stages);
  if (job.state === "ready") drawReady(job);
  else if (job.state === "failed") fail(job.error);
  else if (TERMINAL.has(job.state)) fail({ message: `This job was ${job.state}.` });
  else {
    const now = job.stages.find((stage) => stage.state === "running") ?? job.stages.find((stage) => stage.state !== "done");
    const label = STAGES.find(([name]) => name === now?.name)?.[1] ?? "Working";
    show("running", label, `${Math.round(job.percent)} % of the way`);
    say(label);
  }
  if (ended) refreshRecent();
}

function drawStages(stages) {
  const known = new Map(stages.map((stage) => [stage.name, stage]));
  const list = at("stages");
  if (!list.children.length) {
    for (const [name, label] of STAGES) {
      const bar = make("div", { className: "stage-bar" }, make("i"));
      bar.setAttribute("role", "progressbar");
      bar.setAttribute("aria-label", label);
      const row = make("li", { className: "stage" }, make("span", { className: "stage-mark" }), label, make("span", { className: "stage-time" }), bar);
      row.dataset.name = name;
      list.append(row);
    }
  }
  for (const row of list.children) {
    const stage = known.get(row.dataset.name);
    row.dataset.state = stage?.state ?? "waiting";
    const percent = stage?.percent ?? 0;
    row.style.setProperty("--part", percent / 100);
    row.querySelector(".stage-bar").setAttribute("aria-valuenow", Math.round(percent));
    row.querySelector(".stage-time").textContent = stage?.state === "done" || stage?.state === "running" ? seconds(stage.seconds) : "";
  }
}

async function drawReady(job) {
  if (state.shown === job.id) return;
  state.shown = job.id;
  const took = (Date.parse(job.finished_at) - Date.parse(job.created_at)) / 1e3;
  const verdict = { good: "It looks good.", usable: "It is usable.", review: "Please look it over." }[job.quality] ?? "";
  show("ready", "Here is the head", `Made in ${seconds(took)}. ${verdict}`);
  say("The head is ready.");
  drawFiles(job.files);
  drawReasons(job);
  const glb = job.files.find((file) => file.name === "head.glb");
  at("viewer-note").textContent = glb ? "Loading the head …" : "This job has no model to show.";
  if (!glb) return;
  try {
    const model = await fetchHead(`${glb.url}?disposition=inline&direct=true`);
    if (state.job?.id !== job.id) return;
    const element = await showHead(at("viewer"), model);
    if (state.job?.id !== job.id) return;
    at("viewer-note").textContent = "";
    at("shapes").hidden = !offerShapes(at("shapes"), element);
    showTexture(await skinTexture(model));
  } catch {
    at("viewer-note").textContent = "The head cannot be shown in this browser; the files can be downloaded.";
  }
}

// What speaks against the head, in the manifest's own sentences, the gravest first.
async function drawReasons(job) {
  const list = at("reasons");
  list.replaceChildren();
  const manifest = job.files.find((file) => file.name === "manifest.json");
  const found = manifest ? await readJson(`${manifest.url}?disposition=inline&direct=true`).catch(() => null) : null;
  if (state.job?.id !== job.id) return;
  const rows = sortReasons(found?.quality_reasons ?? []).map((reason) => {
    const figures = reason.value === null ? "" : ` (${reason.value}; limit ${reason.limit})`;
    return make("li", { title: `${reason.code}${figures}` }, reason.message);
  });
  list.replaceChildren(...rows);
}

function showTexture(picture) {
  URL.revokeObjectURL(state.textureUrl);
  at("uv").hidden = !picture;
  at("uv-size").textContent = "";
  if (picture) at("uv-image").src = at("uv-large-image").src = state.textureUrl = URL.createObjectURL(picture);
}

function drawFiles(files) {
  const order = Object.keys(FILE_NOTES);
  const rank = (name) => (order.includes(name) ? order.indexOf(name) : order.length);
  const rows = [...files].sort((one, two) => rank(one.name) - rank(two.name)).map((file) => {
    const note = [FILE_NOTES[file.name], bytes(file.size)].filter(Boolean).join(" · ");
    const link = make("a", { className: "file", href: file.url, download: file.name }, make("span", {}, make("b", { textContent: file.name }), make("small", { textContent: note })));
    link.insertAdjacentHTML("beforeend", '<svg viewBox="0 0 20 20" aria-hidden="true"><path d="M10 3v10m-4-4 4 4 4-4M4 17h12"/></svg>');
    return make("li", {}, link);
  });
  at("file-list").replaceChildren(...rows);
}

function fail(problem) {
  show("failed", "That did not work", "Nothing was made of this photo.");
  at("refusal-text").textContent = problem.message || "Something went wrong.";
  at("refusal-hint").textContent = hintFor(problem.code);
  const figures = [["Measured", problem.value], ["Limit", problem.limit]]
    .map(([label, figure]) => [label, measured(problem, figure)])
    .filter(([, figure]) => figure !== null)
    .map(([label, figure]) => make("div", { className: figure.length > 16 ? "wide" : "" }, make("dt", { textContent: label }), make("dd", { textContent: figure })));
  at("refusal-measure").replaceChildren(...figures);
}

// -- recent jobs

async function refreshRecent() {
  const jobs = await listJobs(RECENT).catch(() => null);
  if (!jobs) return;
  const rows = jobs.map((job) => {
    const dot = make("span", { className: "dot", title: job.state });
    dot.dataset.state = job.state;
    const name = state.names.get(job.id) ?? (job.source === "api" ? job.name : null) ?? job.ref ?? job.name ?? "Uploaded photo";
    const label = make("span", { textContent: name }, make("span", { className: "visually-hidden", textContent: `, ${job.state}` }));
    const button = make("button", { type: "button" }, dot, label, make("time", { textContent: ago(job.created_at), dateTime: job.created_at }));
    button.dataset.id = job.id;
    button.addEventListener("click", () => openJob(job.id));
    return make("li", {}, button);
  });
  const focused = document.activeElement?.dataset?.id;
  at("recent").replaceChildren(...rows);
  if (focused) at("recent").querySelector(`[data-id="${focused}"]`)?.focus();
  markRecent();
}

function markRecent() {
  for (const button of at("recent").querySelectorAll("button")) {
    button.setAttribute("aria-current", String(button.dataset.id === state.job?.id));
  }
}

// -- wiring

at("uv-image").addEventListener("load", ({ target }) => {
  at("uv-size").textContent = `${target.naturalWidth} × ${target.naturalHeight}`;
});

const pick = () => at("photo").click();
at("go").addEventListener("click", () => (document.body.dataset.view === "chosen" ? start() : pick()));
at("other").addEventListener("click", pick);
at("photo").addEventListener("change", (event) => {
  choosePhoto(event.target.files[0]);
  event.target.value = "";
});
// What is no picture has no preview; whether it is a photo, the job decides.
at("photo-shown").addEventListener("error", (event) => {
  event.target.removeAttribute("src");
  // Few browsers show HEIC, which every iPhone takes: the photo is good all the same.
  if (document.body.dataset.view === "chosen") at("subline").textContent += ` ${unseen(state.photo)}`;
});
at("uv").addEventListener("click", () => at("uv-large").showModal());

let drags = 0;
const holdsFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
addEventListener("dragenter", (event) => {
  if (holdsFile(event) && ++drags) document.body.dataset.dropping = "";
});
addEventListener("dragleave", (event) => {
  if (holdsFile(event) && --drags <= 0) delete document.body.dataset.dropping;
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  drags = 0;
  delete document.body.dataset.dropping;
  choosePhoto(event.dataTransfer?.files[0]);
});
addEventListener("paste", (event) => choosePhoto([...(event.clipboardData?.files ?? [])][0]));

drawStages([]);
refreshRecent();
setInterval(() => document.visibilityState === "visible" && refreshRecent(), RECENT_EVERY_MS);
if (location.hash.length > 1) openJob(location.hash.slice(1));
