/* Registers the service worker, which shows a page of its own where the network is gone.
 *
 * In a frame of another site the app is no app of its own.
 */
(() => {
  "use strict";
  if (!("serviceWorker" in navigator) || window.top !== window || !window.isSecureContext) return;
  const base = new URL(".", document.baseURI);
  window.addEventListener("load", async () => {
    try {
      await navigator.serviceWorker.register(new URL("sw.js", base), { scope: base.pathname });
    } catch { return; } // Without it the page works as well.
    const { active } = await navigator.serviceWorker.ready;
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker takes no origin
    active.postMessage({ language: window.cmw.language });
  });
})();
