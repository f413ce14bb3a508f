"""The one door that goes outwards: events, signed and sent to the endpoints of tenants."""
