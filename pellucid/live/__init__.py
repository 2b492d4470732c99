"""Draw, and several trained networks answer side by side: a page served to this machine alone."""

from collections.abc import Callable, Sequence

from pellucid.live.app import Served, application, served
from pellucid.serving.server import listening_socket, run, server_of

__all__ = ["Served", "application", "serve", "served"]


def serve(
    runs: Sequence[Served],
    *,
    port: int | None = None,
    language: str = "en",
    open_browser: bool = True,
    tell: Callable[[str], None] = print,
) -> None:
    """Serve the page from 127.0.0.1 until Ctrl-C; `tell` is given its address before the first request.

    port  None: 8765, or any that is free where that is taken; 0: any

    Raises UsageError for a port that is taken and for more than three runs.
    """
    listener = listening_socket(port)
    taken = listener.getsockname()[1]
    app = application(runs, port=taken, language=language)
    run(server_of(app), listener, tell=tell, open_browser=open_browser)
