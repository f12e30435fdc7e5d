// Calls of the public API with the session's key, which only the server can take out of the cookie.
export const SIGN_IN = "/ui/sign-in";

// Who signs in comes back to this page.
export function signIn() {
  location.assign(`${SIGN_IN}?next=${encodeURIComponent(location.pathname + location.search)}`);
}

const headersFor = (body) => {
  const headers = { "X-CSRF-Token": document.body.dataset.token };
  if (typeof body === "string") headers["Content-Type"] = "application/json";
  return headers;
};

// A Response. `path` is that of the public API, such as /api/functions/…; `body` a string of JSON.
export async function api(method, path, { body, headers, signal } = {}) {
  const answer = await fetch(`/ui${path}`, { method, body, signal, headers: { ...headersFor(body), ...headers } });
  if (answer.status === 401) signIn();
  return answer;
}

// The same with progress, for what takes a while: `onProgress` gets a part of 1. Answers {status, body, header}.
// Who is signed out stays on the page, for it has what they wrote.
export function upload(method, path, { body, headers = {}, onProgress }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, `/ui${path}`);
    for (const [name, value] of Object.entries({ ...headersFor(body), ...headers })) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () => {
      resolve({ status: request.status, body: parsed(request.responseText), header: (name) => request.getResponseHeader(name) });
    };
    request.onerror = () => reject(new Error("Lateen could not be reached. Try again."));
    request.send(body);
  });
}

export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// What a refusal says: {detail, fields: {name: reason}}.
export function refusal(problem, status) {
  const fields = Object.fromEntries((problem?.errors ?? []).map(({ field, reason }) => [field, reason]));
  return { detail: problem?.detail ?? `Lateen answered with status ${status}.`, fields, slug: (problem?.type ?? "").split(":").pop() };
}
