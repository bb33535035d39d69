// Questions to the collector. A failure is one of three: no answer for now, it wants a token, it refuses.

import { hear } from "./clock.js";
import { query } from "./route.js";

const PATIENCE_MS = 20_000;

/** No answer for now: nobody is there, or it is in trouble. The message says which. */
export class Unreachable extends Error {}

/** A read token is needed. */
export class LoginNeeded extends Error {}

/** The collector answered, and said no. */
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

/** GET api/v1/`path`; parameters that are null are left out, lists are repeated. */
export async function ask(path, parameters = {}, signal = undefined) {
  const answer = await reach(`api/v1/${path}${query(parameters)}`, {}, signal);
  return body(answer);
}

export function exportAddress(parameters) {
  return `api/v1/export${query(parameters)}`;
}

/** Trade a token for a cookie. */
export async function login(token) {
  const answer = await reach("api/v1/login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token }),
  });
  if (answer.ok) return;
  throw new Refused(answer.status, await reason(answer));
}

/** Give the cookie back. */
export async function logout() {
  await reach("api/v1/login", { method: "DELETE" });
}

async function reach(address, options, signal) {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  try {
    const answer = await fetch(address, {
      ...options,
      signal: signal ? AbortSignal.any([signal, patience]) : patience,
    });
    hear(Date.parse(answer.headers.get("Date")) / 1000, false);
    return answer;
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable("No connection to the collector.", { cause: error });
  }
}

async function body(answer) {
  if (answer.status === 401) throw new LoginNeeded(await reason(answer));
  if (answer.status >= 500) throw new Unreachable(`The collector is in trouble: ${await reason(answer)}`);
  if (answer.status === 429) throw new Unreachable("The collector is asked too often.");
  if (!answer.ok) throw new Refused(answer.status, await reason(answer));
  try {
    return await answer.json();
  } catch (error) {
    throw new Unreachable("The collector's answer broke off.", { cause: error });
  }
}

async function reason(answer) {
  try {
    return String((await answer.json()).error ?? answer.statusText);
  } catch {
    return answer.statusText || `status ${answer.status}`;
  }
}
