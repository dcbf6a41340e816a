// Calls of the HTTP API; the session cookie signs them.

export class Refusal extends Error {
  constructor(problem) {
    super(problem.message || "Something went wrong.");
    this.problem = problem;
  }
}

const OFFLINE = { code: "offline", message: "The server cannot be reached. Is it running?" };

async function ask(path, init) {
  let answer;
  try {
    answer = await fetch(path, { headers: { Accept: "application/json" }, ...init });
  } catch {
    throw new Refusal(OFFLINE);
  }
  if (answer.status === 401) location.reload();
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refusal(body);
  return body;
}

/** A file of the asset that holds JSON. */
export const readJson = async (path) => (await fetch(path)).json();

export const getJob = (id) => ask(`/v1/jobs/${encodeURIComponent(id)}`);
export const listJobs = async (limit) => (await ask(`/v1/jobs?limit=${limit}`)).jobs;

/** Upload a photo with options; `onProgress` hears the part sent, 0 to 1. */
export function createJob(photo, options, onProgress) {
  const form = new FormData();
  for (const [name, value] of Object.entries(options)) if (value) form.append(name, value);
  form.append("photo", photo, "photo");
  return new Promise((resolve, reject) => {
    // fetch cannot tell how much of a body was sent.
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/jobs");
    request.responseType = "json";
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () => {
      if (request.status === 401) location.reload();
      else if (request.status === 202) resolve(request.response);
      else reject(new Refusal(request.response || {}));
    };
    request.onerror = () => reject(new Refusal(OFFLINE));
    request.send(form);
  });
}

/** Call `onJob` with the job at every change until it ends; returns a function that stops. */
export function followJob(id, onJob) {
  const source = new EventSource(`/v1/jobs/${encodeURIComponent(id)}/events`);
  source.addEventListener("job", (event) => onJob(JSON.parse(event.data)));
  source.addEventListener("end", () => source.close());
  return () => source.close();
}
