/* The page's language, as far as the browser has a say in it.
 *
 * The server has chosen it, and the script before this one has its texts. Gradio's own labels follow the
 * browser's language alone, so the page tells it the page's. A choice is stored in a cookie, since the
 * server draws the page; where the browser refuses it, the choice stands in the address.
 */
(() => {
  "use strict";
  const { tag } = window.cmwLanguage;
  Object.defineProperty(navigator, "language", { get: () => tag, configurable: true });
  Object.defineProperty(navigator, "languages", { get: () => [tag], configurable: true });

  const COOKIE = "cmw_language";
  const YEAR = 31_536_000; // seconds
  const isFramed = window.top !== window;

  // Loads the page again in another language.
  window.cmwLanguage.choose = (wanted) => {
    const { pathname, protocol } = new URL(".", document.baseURI);
    const reach = isFramed ? "; samesite=none; secure; partitioned" : `; samesite=lax${protocol === "https:" ? "; secure" : ""}`;
    document.cookie = `${COOKIE}=${wanted}; path=${pathname}; max-age=${YEAR}${reach}`;
    const url = new URL(location.href);
    if (document.cookie.split("; ").includes(`${COOKIE}=${wanted}`)) url.searchParams.delete("lang");
    else url.searchParams.set("lang", wanted);
    if (url.href === location.href) location.reload();
    else location.replace(url);
  };
})();
