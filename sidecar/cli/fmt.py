"""``sidecar fmt``: policy files laid out by Cedar's formatter, all of them or none."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from difflib import unified_diff
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.progress import track

from sidecar.cli.findings import lines, printable, summary
from sidecar.core.errors import ConfigurationInvalid
from sidecar.core.findings import Source, together
from sidecar.core.layout import WIDTH, Layout, lay_out
from sidecar.replica.files import POLICY_SUFFIX
from sidecar.replica.selection import below

EXIT_BAD: Final = 1
STDIN: Final = Path("-")


class Formatted(msgspec.Struct, frozen=True):
    """A file as it was read and as it should be."""

    path: Path
    before: str
    layout: Layout

    @property
    def changes(self) -> bool:
        """Whether it would change."""
        return self.before != self.layout.text


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--check", "only_check", is_flag=True, help="Write nothing, name what would change, exit with 1 if any.")
@click.option("--diff", "show_diff", is_flag=True, help="Write nothing, print what would change, exit with 1 if any.")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read standard input, write standard output; as PATHS `-`.")
@click.option(
    "--line-width",
    type=click.IntRange(20, 400),
    default=WIDTH,
    show_default=True,
    help="Characters of a line that the formatter tries to keep to.",
)
@click.pass_context
def fmt(
    ctx: click.Context,
    /,
    paths: tuple[Path, ...],
    line_width: int,
    *,
    only_check: bool,
    show_diff: bool,
    from_stdin: bool,
) -> None:
    """Lay out policy files as Cedar's formatter does; comments stay, and lines end in LF.

    PATHS are `*.cedar` files, and folders that hold some at any depth; the folder `policies` without any. Nothing is
    written when one of the files does not parse, or when the formatter would lose a comment or change a policy.

    Exit code 1 when a file cannot be laid out, or would change under --check or --diff; 2 when one cannot be read.
    """
    is_stream = from_stdin or paths == (STDIN,)
    if (is_stream and paths not in {(), (STDIN,)}) or (STDIN in paths and not is_stream):
        raise click.UsageError("standard input is formatted alone, without other PATHS")
    found = [_read_stdin(line_width)] if is_stream else _read(paths or (Path("policies"),), line_width)
    if any(each.layout.findings for each in found):
        _complain(found)
        ctx.exit(EXIT_BAD)
    changed = [each for each in found if each.changes]
    if only_check or show_diff:
        _tell(changed, "would reformat" if only_check else None, is_diff=show_diff)
        ctx.exit(EXIT_BAD if changed else 0)
    if is_stream:
        click.echo(found[0].layout.text, nl=False)
        return
    _write(changed)
    _tell(changed, "reformatted", is_diff=False)


def _read_stdin(width: int) -> Formatted:
    return _formatted(STDIN, "<stdin>", sys.stdin.buffer.read(), width)


def _read(paths: tuple[Path, ...], width: int) -> list[Formatted]:
    """Return every file that is meant, once, laid out."""
    terminal = Console(stderr=True)
    chosen: dict[Path, Path] = {}
    for path in paths:
        for file in _files(path):
            chosen.setdefault(file.resolve(), file)
    steps = track(chosen.values(), "formatting", console=terminal, transient=True, disable=not terminal.is_terminal)
    return [_formatted(path, str(path), _bytes(path), width) for path in steps]


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = list(below(path))
        if not found:
            raise ConfigurationInvalid(f"`{path}` holds no `*{POLICY_SUFFIX}` file, expected at least one")
        return found
    if path.exists() and path.suffix != POLICY_SUFFIX:
        raise ConfigurationInvalid(f"`{path}` is neither a folder nor a `*{POLICY_SUFFIX}` file")
    return [path]


def _bytes(path: Path) -> bytes:
    if path.exists() and not path.is_file():  # a pipe would keep everybody waiting
        raise ConfigurationInvalid(f"`{path}` is no file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationInvalid(f"`{path}` cannot be read: {error.strerror}") from error


def _formatted(path: Path, name: str, content: bytes, width: int) -> Formatted:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationInvalid(f"`{name}` is not UTF-8 at byte {error.start}") from error
    return Formatted(path, text, lay_out(Source(name, text), width))


def _complain(found: list[Formatted]) -> None:
    inspection = together((finding for each in found for finding in each.layout.findings), len(found))
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for finding in inspection.findings:
        for line in lines(finding):
            console.print(line)
    console.print(f"{summary(inspection)}, nothing was written")


def _tell(changed: list[Formatted], verb: str | None, *, is_diff: bool) -> None:
    for each in changed:
        if is_diff:
            click.echo(_diff(each), nl=False)
        if verb is not None:
            click.echo(f"{verb} {printable(str(each.path))}")


def _diff(each: Formatted) -> str:
    """Return a unified diff as `patch` reads it."""
    before, after = each.before.splitlines(keepends=True), each.layout.text.splitlines(keepends=True)
    pieces = unified_diff(before, after, str(each.path), str(each.path))
    return "".join(piece if piece.endswith("\n") else f"{piece}\n\\ No newline at end of file\n" for piece in pieces)


def _write(changed: list[Formatted]) -> None:
    """Replace files whole, so that nobody reads half of one, once all of them are on the disk.

    Where a path is a link, the file that it leads to is replaced.
    """
    with ExitStack() as begun:
        written = [(begun.enter_context(_beside(each)), each.path.resolve()) for each in changed]
        for file, target in written:
            file.replace(target)


@contextmanager
def _beside(each: Formatted) -> Iterator[Path]:
    """Give a new file with the text, owner and mode of the old one beside it, and leave none behind."""
    target = each.path.resolve()
    old = target.stat()
    with NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
        path = Path(file.name)
        try:
            file.write(each.layout.text.encode())
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), old.st_mode)
            with suppress(PermissionError):  # only root gives files to others
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
            file.close()
            yield path
        finally:
            path.unlink(missing_ok=True)
