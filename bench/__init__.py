"""How long a decision takes, over HTTP against a real server process; `README.md` says what each figure means."""
