"""The doors of card networks: each turns the words of one network into those of ``sidecar.core.card_events``."""
