/* Sends one file to the server, and says how far it has come.
 *
 * `fetch` reports no progress of what it sends, so this is an XMLHttpRequest. Where the connection is
 * lost, the file is sent again once it is back.
 */
(() => {
  "use strict";
  const base = new URL(".", document.baseURI);
  const BROKEN = window.cmw.t("The upload broke off; the file may be too large.");
  const FAILED = window.cmw.t("This file could not be uploaded.");
  const nextBack = (signal) => new Promise((resolve) => {
    document.addEventListener("cmw:back", resolve, { once: true });
    signal.addEventListener("abort", resolve, { once: true });
  });

  // One request; resolves with what the server says of the file, or with null where it broke off.
  async function attempt(path, file, report, signal) {
    const headers = await window.cmw.headersOf({
      "content-type": file.type || "application/octet-stream",
      "x-file-name": encodeURIComponent((file.name ?? "").slice(-300)),
    });
    signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      const end = () => request.abort();
      request.open("POST", new URL(path, base));
      request.responseType = "json";
      for (const [name, value] of headers) request.setRequestHeader(name, value);
      request.upload.addEventListener("progress", ({ loaded, total }) => report(total ? loaded / total : 0));
      request.addEventListener("load", () => {
        const isTaken = request.status >= 200 && request.status < 300 && request.response;
        if (isTaken) resolve(request.response);
        else reject(new Error(request.response?.detail || FAILED));
      });
      request.addEventListener("error", () => resolve(null));
      request.addEventListener("abort", () => resolve(null));
      request.addEventListener("loadend", () => {
        signal.removeEventListener("abort", end);
        document.removeEventListener("cmw:lost", end);
      });
      signal.addEventListener("abort", end);
      document.addEventListener("cmw:lost", end); // nothing comes through it any more
      request.send(file);
    });
  }

  // Uploads a file to `path`; `report` is given the part that was sent, from 0 to 1. Its error is a
  // sentence for the user; an abort by `signal` rejects with the signal's reason.
  window.cmw.upload = async (path, file, report, signal) => {
    for (;;) {
      while (window.cmw.isLost() && !signal.aborted) await nextBack(signal);
      signal.throwIfAborted();
      const stored = await attempt(path, file, report, signal);
      if (stored) return stored;
      signal.throwIfAborted();
      report(0);
      if (await window.cmw.isReachable()) throw new Error(BROKEN);
    }
  };
})();
