"""The composition root: settings become a running process; here and only here everything is put together."""
