"""What makes the page an app that can be installed: manifest, icons, service worker, offline page."""

import base64
import html
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from cmw_agent.config.look import COLOUR, Look
from cmw_agent.language.request_language import request_language
from cmw_agent.web.page.bundles import SCRIPT, STATIC
from cmw_agent.web.page.page_look import icon_of

PNG: Final = "image/png"
GROUND: Final = "#f8fafc"
TOUCH_ICON: Final = "apple-touch-icon.png"
ICONS: Final = (
    ("icon-192.png", "192x192", "any"),
    ("icon-512.png", "512x512", "any"),
    ("icon-maskable-512.png", "512x512", "maskable"),
)
OFFLINE: Final = """<!doctype html>
<html lang="{tag}" dir="{direction}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}: {title}</title>
<style>
:root {{ color-scheme: light dark; font-family: system-ui, sans-serif; }}
body {{ min-height: 100dvh; margin: 0; display: grid; place-content: center; justify-items: center;
  gap: .75rem; padding: 1rem; box-sizing: border-box; text-align: center; }}
h1, p {{ margin: 0; }}
a {{ padding: .6rem 1.4rem; border-radius: .75rem; text-decoration: none; background: {colour};
  color: #fff; }}
</style></head><body>
<h1>{title}</h1>
<p>{sentence}</p>
<a href="">{again}</a>
<script>
const back = () => fetch("healthz", {{ cache: "no-store", signal: AbortSignal.timeout(4000) }})
  .then((answer) => {{ if (answer.ok) location.reload(); }}).catch(() => {{}});
addEventListener("online", back);
setInterval(back, 5000);
</script>
</body></html>
"""


class AppFiles:
    """The routes of an installed app. None of them tells anything of a user.

    Args:
        look: How the app looks.
    """

    def __init__(self, look: Look) -> None:
        self._look = look

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        return [
            Route("/manifest.json", self.manifest),
            Route("/sw.js", self.service_worker),
            Route("/offline.html", self.offline),
            Route("/favicon.ico", self.favicon),
            Route(f"/{TOUCH_ICON}", self.touch_icon),
        ]

    async def manifest(self, request: Request) -> Response:
        """The web app's manifest; its icons are in it, since no picture comes by address."""
        name = self._look.name
        content: dict[str, Any] = {
            "id": "./",
            "start_url": "./",
            "scope": "./",
            "name": name,
            "short_name": name[:12].rstrip(),
            "display": "standalone",
            "background_color": GROUND,
            "theme_color": GROUND,
            "icons": self._icons(),
        }
        return JSONResponse(content, media_type="application/manifest+json")

    def _icons(self) -> list[dict[str, str]]:
        icon = icon_of(self._look)
        icons = [{"src": icon.uri, "sizes": "any", "type": icon.media_type, "purpose": "any"}]
        if self._has_own_icon:
            return icons
        return icons + [
            {"src": _png(name), "sizes": sizes, "type": PNG, "purpose": purpose}
            for name, sizes, purpose in ICONS
        ]

    @property
    def _has_own_icon(self) -> bool:
        return self._look.icon is not None or self._look.colour != COLOUR

    async def service_worker(self, request: Request) -> Response:
        """The service worker."""
        return FileResponse(STATIC / "sw.js", media_type=SCRIPT)

    async def offline(self, request: Request) -> Response:
        """The page that the service worker shows without a network."""
        language, name = request_language(request.scope), self._look.name
        sentence = language.gettext(
            "{name} cannot be reached now. What you have written and not sent is kept in this browser.",
            name=name,
        )
        page = OFFLINE.format(
            tag=language.tag,
            direction=language.direction,
            name=html.escape(name),
            title=html.escape(language.gettext("No connection")),
            sentence=html.escape(sentence),
            again=html.escape(language.gettext("Reload")),
            colour=COLOUR,
        )
        return HTMLResponse(page, headers={"vary": "accept-language, cookie"})

    async def favicon(self, request: Request) -> Response:
        """The icon for those who ask for it at the usual address."""
        icon = icon_of(self._look)
        return Response(icon.content, media_type=icon.media_type)

    async def touch_icon(self, request: Request) -> Response:
        """The icon that iOS asks for."""
        if self._look.icon is not None:
            return await self.favicon(request)
        return FileResponse(STATIC / TOUCH_ICON, media_type=PNG)


def _png(name: str) -> str:
    content = base64.b64encode((STATIC / name).read_bytes()).decode("ascii")
    return f"data:{PNG};base64,{content}"
