"""How much and how long: the limits every server of pellucid's keeps."""

BODY_SECONDS = 15.0  # for a body to arrive
MOST_AT_ONCE = 8  # requests with a body in hand
MOST_HEADERS, MOST_HEADER_BYTES = 50, 8_192
HEAD_SECONDS = 5.0  # for a request's head to arrive, and for an idle connection to stay
EXCHANGE_SECONDS = 60.0  # for one request and its answer in all
MOST_CONNECTIONS = 64
END_SECONDS = 5  # that requests in hand are waited for at the end
