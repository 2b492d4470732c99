"""The drawing page, served to this machine alone: several trained networks answer a drawing side by side."""

from collections.abc import Callable, Sequence

from pellucid.live.app import Served, application, served
from pellucid.serving.decoding import DecodingPool
from pellucid.serving.server import listening_socket, run, server_of

__all__ = ["Served", "application", "serve", "served"]


def serve(
    runs: Sequence[Served],
    *,
    port: int | None = None,
    language: str = "en",
    open_browser: bool = True,
    announce: Callable[[str], None] = print,
) -> None:
    """Serve the page from 127.0.0.1 until Ctrl-C; `announce` is called with its address before the first
    request.

    port  None: 8765, or any free one where that is taken; 0: any free one

    Raises UsageError for a port that is taken and for more than three runs.
    """
    # Closed, too, where the runs are refused.
    with listening_socket(port) as listener, DecodingPool() as decoders:
        app = application(runs, port=listener.getsockname()[1], decoders=decoders, language=language)
        run(server_of(app), listener, announce=announce, open_browser=open_browser)
