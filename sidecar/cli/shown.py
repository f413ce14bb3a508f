"""Other people's words in reports for people: written so that no terminal, table or page takes them for its own."""


def plain(text: str) -> str:
    """Return ``text`` with what is not printable written by its code point."""
    return "".join(each if each.isprintable() else f"\\u{{{ord(each):x}}}" for each in text)


def code(text: str) -> str:
    """Return ``text`` as code in a markdown table: a bar would end the cell, a backtick the code."""
    return f"`{plain(text).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def code_html(text: str) -> str:
    """Return ``text`` as code in HTML."""
    escaped = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<code>{escaped}</code>"
