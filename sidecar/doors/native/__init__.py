"""The native API (Ledgerline's shape): each call is a parse, a service, a render."""
