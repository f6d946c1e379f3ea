/* The service worker: where a page cannot be loaded for want of a network, it shows the offline page.
 *
 * It stores that one page, which holds nothing of any user, and no answer of the server. All requests but
 * those for whole pages go past it. Its address is the same in each language: a worker that replaces another
 * one while a page is on its way can hold that page up for good.
 */
"use strict";
const SCOPE = self.registration.scope;
// Apps below other paths of this host have caches of their own.
const CACHE = `cmw-offline-3-${new URL(SCOPE).pathname}`;
const FORMER = `cmw-offline-2-${new URL(SCOPE).pathname}-`;

self.addEventListener("activate", (event) => {
  event.waitUntil((async () => {
    for (const name of await caches.keys()) if (name.startsWith(FORMER)) await caches.delete(name);
    await self.clients.claim();
  })());
});

// Each page says its language as it opens.
self.addEventListener("message", (event) => event.waitUntil(store(event.data.language)));

async function store(language) {
  const page = new URL(`offline.html?lang=${encodeURIComponent(language)}`, SCOPE).href;
  const cache = await caches.open(CACHE);
  if (await cache.match(page)) return;
  await cache.add(new Request(page, { cache: "reload", credentials: "omit" }));
  for (const { url } of await cache.keys()) if (url !== page) await cache.delete(url);
}

async function offline() {
  const cache = await caches.open(CACHE);
  return (await cache.match(new URL("offline.html", SCOPE).href, { ignoreSearch: true })) ?? Response.error();
}

self.addEventListener("fetch", (event) => {
  const isOwnPage = event.request.url.split(/[?#]/)[0] === SCOPE;
  if (event.request.mode !== "navigate" || event.request.method !== "GET" || !isOwnPage) return;
  event.respondWith(fetch(event.request).catch(offline));
});
