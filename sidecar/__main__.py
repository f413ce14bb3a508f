"""``python -m sidecar`` is the ``sidecar`` command."""

from sidecar.cli.main import main

main()
