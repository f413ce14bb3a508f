"""Doors that stand behind proxies: Envoy, nginx, Caddy, Traefik."""
