"""What is wrong with the files of a schema: every file that does not parse, every type that is not declared.

Cedar reads all files as one text and stops at its first error; the others are found by reading each file by itself.
"""

import re
from collections.abc import Sequence
from typing import Final

from sidecar.core.errors import PolicyInvalid
from sidecar.core.findings import Finding, Source
from sidecar.core.policy import CompiledSchema, compile_schema, offset_of_schema_error, schema_parse_error
from sidecar.core.policy_text import check_schema_limits, place, refusal, tokens
from sidecar.core.recovery import bare
from sidecar.core.snapshot import SourceFile

_UNDECLARED: Final = re.compile("failed to resolve types?: (.*)")


def review_schema(files: Sequence[SourceFile]) -> tuple[CompiledSchema | None, list[Finding]]:
    """Return the schema, or None and what is wrong with it; none at all where there are no files."""
    if not files:
        return None, []
    try:
        return compile_schema(tuple((file.path, file.text) for file in files)), []
    except PolicyInvalid as error:
        first = error
    undeclared = _UNDECLARED.fullmatch(bare(first))
    if undeclared is not None:
        return None, _undeclared(undeclared[1].split(", "), files) or [_finding(first, files)]
    alone = [fault for fault in map(_unparsed, files) if fault is not None]
    first_place = first.file, first.line, first.column
    # Where the first error is one between files, what a file is by itself says nothing.
    is_within = any((fault.file, fault.line, fault.column) == first_place for fault in alone)
    return None, [_finding(fault, files) for fault in (alone if is_within else [first])]


def _unparsed(file: SourceFile) -> PolicyInvalid | None:
    """Return the error for a file that does not parse by itself, or is over a limit."""
    try:
        check_schema_limits(file.text, file.path)
    except PolicyInvalid as error:
        return error
    message = schema_parse_error(file.text)
    if message is None:
        return None
    return refusal(message, file.path, place(file.text, offset_of_schema_error(file.text, message)))


def _undeclared(names: Sequence[str], files: Sequence[SourceFile]) -> list[Finding]:
    """Return a finding for each place where a type is named that is not declared."""
    return [
        Source(file.path, file.text).finding(
            "schema_invalid", (token.offset, token.end), f"failed to resolve type: {token.text}"
        )
        for file in files
        for token in tokens(file.text, file.path)
        if token.kind == "word" and token.text in names
    ]


def _finding(error: PolicyInvalid, files: Sequence[SourceFile]) -> Finding:
    text = next((file.text for file in files if file.path == error.file), "")
    source = Source(error.file, text)
    return source.finding("schema_invalid", source.word(source.offset(error.line, error.column)), bare(error))
