/* The service worker: where a page cannot be loaded for want of a network, it shows the offline page.
 *
 * It stores that one page, which holds nothing of any user, and no answer of the server. All requests but
 * those for whole pages go past it.
 */
"use strict";
const CACHE = "cmw-offline-1";
const PAGE = new URL("offline.html", self.registration.scope).href;

self.addEventListener("install", (event) => {
  event.waitUntil((async () => {
    const cache = await caches.open(CACHE);
    await cache.add(new Request(PAGE, { cache: "reload", credentials: "omit" }));
    await self.skipWaiting();
  })());
});

self.addEventListener("activate", (event) => {
  event.waitUntil((async () => {
    for (const name of await caches.keys()) if (name !== CACHE) await caches.delete(name);
    await self.clients.claim();
  })());
});

self.addEventListener("fetch", (event) => {
  const isOwnPage = event.request.url.split(/[?#]/)[0] === self.registration.scope;
  if (event.request.mode !== "navigate" || event.request.method !== "GET" || !isOwnPage) return;
  event.respondWith(fetch(event.request).catch(async () => (await caches.match(PAGE)) ?? Response.error()));
});
