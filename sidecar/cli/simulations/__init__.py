"""A card network as a server sees it: purchases played message by message, for tests and demonstrations.

Nothing here knows the server from inside: it signs, sends and judges answers as the real network does.
"""
