"""What every door shares: from bytes to typed calls and back, authentication, limits, errors."""
