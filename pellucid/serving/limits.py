"""Limits of size, number and time for every server of pellucid."""

BODY_SECONDS = 15.0  # for a body to arrive
MAX_OPEN_BODIES = 8  # requests with a body at the same time
MAX_HEADERS, MAX_HEADER_BYTES = 50, 8_192
HEAD_SECONDS = 5.0  # for a request's headers to arrive, and for an idle connection to stay open
EXCHANGE_SECONDS = 60.0  # for one request and its response
MAX_CONNECTIONS = 64
SHUTDOWN_SECONDS = 5  # for open requests at the end
