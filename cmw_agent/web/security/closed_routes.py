"""The routes of Gradio that the guard answers with 404.

The guard does not read this list: it closes every route that is not on the allow-list. A test
reads it, to tell the routes that were judged from those that an upgrade of Gradio brings.
"""

from cmw_agent.web.security.route_allowlist import API

CLOSED_ROUTES: frozenset[str] = frozenset(
    {
        # trailing-slash twins of open routes
        "/config/",
        f"{API}/info/",
        f"{API}/app_id/",
        # pages, Gradio's own log-in and developer tools that the app does not use
        "/login/",
        "/svelte/{path:path}",
        "/monitoring",
        "/monitoring/summary",
        "/monitoring/{key}",
        "/pwa_icon",
        "/pwa_icon/{size}",
        f"{API}/user",
        f"{API}/user/",
        f"{API}/login_check",
        f"{API}/login_check/",
        f"{API}/token",
        f"{API}/token/",
        f"{API}/dev/reload",
        f"{API}/runs",
        f"{API}/runs/",
        "/openapi.json",
        f"{API}/openapi.json",
        f"{API}/queue/status",
        f"{API}/vibe-edit",
        f"{API}/vibe-edit/",
        f"{API}/undo-vibe-edit",
        f"{API}/undo-vibe-edit/",
        f"{API}/vibe-code",
        f"{API}/vibe-code/",
        f"{API}/vibe-starter-queries",
        f"{API}/vibe-starter-queries/",
        # ways to a session or its state that rewriting does not reach
        f"{API}/deep_link",
        f"{API}/run/{{api_name}}",
        f"{API}/run/{{api_name}}/",
        f"{API}/api/{{api_name}}",
        f"{API}/api/{{api_name}}/",
        f"{API}/call/v2/{{api_name}}",
        f"{API}/call/v2/{{api_name}}/",
        f"{API}/call/{{api_name}}",
        f"{API}/call/{{api_name}}/",
        f"{API}/call/v2/{{api_name}}/{{event_id}}",
        f"{API}/call/{{api_name}}/{{event_id}}",
        f"{API}/component_server",
        f"{API}/component_server/",
        f"{API}/reset",
        f"{API}/reset/",
        f"{API}/stream/{{event_id}}",
        f"{API}/stream/{{event_id}}/close",
        f"{API}/stream/{{session_hash}}/{{run}}/{{component_id}}/playlist.m3u8",
        f"{API}/stream/{{session_hash}}/{{run}}/{{component_id}}/{{segment_id}}.{{ext}}",
        f"{API}/stream/{{session_hash}}/{{run}}/{{component_id}}/playlist-file",
        # files, which Gradio gives to anyone who has the path
        f"{API}/file={{path_or_url:path}}",
        f"{API}/file/{{path:path}}",
        f"{API}/proxy={{url_path:path}}",
        f"{API}/upload",
        f"{API}/upload_progress",
        f"{API}/process_recording",
        f"{API}/custom_component/{{id}}/{{environment}}/{{type}}/{{file_name}}",
    }
)
