"""Limits of size, number and time for every server of pellucid."""

BODY_SECONDS = 15.0  # for a body to arrive
MAX_HELD_BYTES = 64 << 20  # of bodies that arrived, or are arriving, and are not answered yet
MAX_HEADERS, MAX_HEADER_BYTES = 50, 8_192
HEAD_SECONDS = 5.0  # for a request's headers to arrive, and for an idle connection to stay open
EXCHANGE_SECONDS = 60.0  # for one request and its response
MAX_CONNECTIONS = 512  # then whoever has kept the server waiting longest makes room
SHUTDOWN_SECONDS = 5  # for open requests at the end
DECODE_SECONDS = 10.0  # for one picture, from its last byte on: then its process is killed
DECODE_BYTES = 1 << 30  # of memory of a process that decodes
MAX_WAITING_PICTURES = 4  # for each such process: the last is still answered within an exchange
START_SECONDS = 30.0  # for such a process to start
