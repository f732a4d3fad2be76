// Stores the page in the browser's cache, so that it opens offline. `version.js` is written when the page is published: it
// sets `self.VERSION`, by which browsers detect a new version, and `self.SHELL`, the files to cache at installation. A new
// version becomes active when the old page is closed, so that a page never mixes files of two versions.

importScripts("version.js");

const CACHE = `hf-speech ${registration.scope} ${self.VERSION}`;

addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(self.SHELL)));
});

addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      const names = (await caches.keys()).filter((name) => name.startsWith(`hf-speech ${registration.scope} `));
      await Promise.all(names.filter((name) => name !== CACHE).map((name) => caches.delete(name)));
      await clients.claim();
    })(),
  );
});

addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method === "GET" && request.url.startsWith(registration.scope)) event.respondWith(answer(request));
});

async function answer(request) {
  const cache = await caches.open(CACHE);
  const name = request.url.replace(/\/index\.html(?=$|\?)/, "/"); // Both are the same page.
  const cached = await cache.match(name, { ignoreSearch: true });
  if (cached) return cached;
  const response = await fetch(request);
  if (response.ok && response.status === 200) await cache.put(request, response.clone());
  return response;
}
