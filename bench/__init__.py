"""How long a decision takes, measured over HTTP against a real server process; `README.md` says what each figure means."""
