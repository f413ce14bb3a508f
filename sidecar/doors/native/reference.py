"""The API description at ``/openapi.json``, and at ``/docs`` a page that shows it without asking any other host.

The viewer is Swagger UI; its files come out of an installed package and nothing else of that package is used. The page
may load scripts from this server only and run none that stand in it, so a text in the description cannot become one.
"""

import hashlib
from collections.abc import Iterable
from importlib.resources import files
from typing import Final

import msgspec
import orjson

from sidecar.core.errors import NotFound
from sidecar.doors.native.openapi import description
from sidecar.doors.wire.endpoint import Ask, Call
from sidecar.doors.wire.http import Answer

SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The viewer sets styles inside the page, hence `unsafe-inline` for those alone."""

HEADERS: Final = (
    ("Content-Security-Policy", SECURITY_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
"""Headers of the page and its files."""

FOR_EVER: Final = "public, max-age=31536000, immutable"
"""A file's name holds the digest of its content, so another content has another name."""

_CONTENT_TYPES: Final = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "png": "image/png"}
_DIGEST_LENGTH: Final = 12
_STYLE, _VIEWER, _ICON, _START = "swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png", "start.js"

# The validator is another host, so it is off; links are relative, so that the page works behind a path of a proxy.
_START_TEXT: Final = b"""\
"use strict";
window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  displayOperationId: true,
  displayRequestDuration: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
});
"""

_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>API reference</title>
<link rel="icon" type="image/png" href="docs/{icon}">
<link rel="stylesheet" href="docs/{style}">
</head>
<body>
<div id="reference"></div>
<noscript>The description itself is at <a href="openapi.json">openapi.json</a>.</noscript>
<script src="docs/{viewer}"></script>
<script src="docs/{start}"></script>
</body>
</html>
"""


class _File(msgspec.Struct, frozen=True):
    name: str
    content: bytes
    content_type: str


class ReferenceCalls:
    """The calls; the description and the files are read once, here."""

    def __init__(self, calls: Iterable[Call]) -> None:
        """Describe ``calls`` and these."""
        found = {name: _file(name) for name in (_STYLE, _VIEWER, _ICON, _START)}
        self._files = {file.name: file for file in found.values()}
        self._page = _PAGE.format(
            icon=found[_ICON].name, style=found[_STYLE].name, viewer=found[_VIEWER].name, start=found[_START].name
        ).encode()
        self._description = orjson.dumps(description((*calls, *self.calls())))

    def calls(self) -> tuple[Call, ...]:
        """Return the calls; those of the page are not part of what they show."""
        return (
            Call(method="GET", path="/openapi.json", run=self.get_description, is_open=True, answer=dict[str, object]),
            Call(method="GET", path="/docs", run=self.get_page, is_open=True, is_documented=False),
            Call(method="GET", path="/docs/{name}", run=self.get_file, is_open=True, is_documented=False),
        )

    async def get_description(self, _ask: Ask) -> Answer:
        """Describe the API: this document."""
        return Answer(200, self._description, cache_control="no-cache")

    async def get_page(self, _ask: Ask) -> Answer:
        """Show the API reference."""
        return Answer(200, self._page, HEADERS, "text/html; charset=utf-8", cache_control="no-cache")

    async def get_file(self, ask: Ask) -> Answer:
        """Give a file of the page."""
        found = self._files.get(ask.path["name"])
        if found is None:
            raise NotFound("no such file of the reference page")
        return Answer(200, found.content, HEADERS, found.content_type, cache_control=FOR_EVER)


def _file(name: str) -> _File:
    content = _START_TEXT if name == _START else files("swagger_ui").joinpath("static", name).read_bytes()
    stem, _, ending = name.rpartition(".")
    digest = hashlib.sha256(content).hexdigest()[:_DIGEST_LENGTH]
    return _File(f"{stem}.{digest}.{ending}", content, _CONTENT_TYPES[ending])
