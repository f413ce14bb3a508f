"""HTTP protocols translated onto the services: parse, call, render; nothing is decided here."""
