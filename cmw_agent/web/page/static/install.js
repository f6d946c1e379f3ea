/* Registers the service worker, which shows a page of its own where the network is gone.
 *
 * In a frame of another site the app is no app of its own.
 */
(() => {
  "use strict";
  if (!("serviceWorker" in navigator) || window.top !== window || !window.isSecureContext) return;
  const base = new URL(".", document.baseURI);
  window.addEventListener("load", () => {
    // Without it the page works as well.
    navigator.serviceWorker.register(new URL("sw.js", base), { scope: base.pathname }).catch(() => {});
  });
})();
