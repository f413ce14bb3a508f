"""Doors for proxies: what a proxy saw of a request becomes a question, by the mapping in ``gateway.toml``."""
