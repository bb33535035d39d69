// What this browser remembers of the page between visits; one that keeps nothing forgets, and all goes on.

export function recall(key) {
  try {
    return localStorage.getItem(`heflwr.${key}`);
  } catch {
    return null;
  }
}

/** Null forgets. */
export function remember(key, value) {
  try {
    if (value === null) localStorage.removeItem(`heflwr.${key}`);
    else localStorage.setItem(`heflwr.${key}`, value);
  } catch {
    // It holds until the page is closed, then.
  }
}
